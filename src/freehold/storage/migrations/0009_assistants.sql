-- Every version of an assistant that was made by a client. The row in assistants holds what is current, so that a run reads one row; a
-- system assistant has one version, which is that row.
CREATE TABLE freehold.assistant_versions (
  assistant_id  uuid NOT NULL REFERENCES freehold.assistants ON DELETE CASCADE,
  version       integer NOT NULL,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  graph_id      text NOT NULL,
  name          text NOT NULL,
  description   text,
  config        jsonb NOT NULL,
  context       jsonb NOT NULL,
  metadata      jsonb NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (assistant_id, version)
);

CREATE INDEX assistants_by_owner ON freehold.assistants (organisation, owner, created_at DESC) WHERE owner IS NOT NULL;
