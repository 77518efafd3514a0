-- Everything that survives. Owner and organisation are on every object a caller can name, and in every query that
-- touches one. The runs table is the queue (docs/adr/0001): a run's job state and its result cannot disagree.

CREATE TABLE assistants (
  assistant_id  uuid PRIMARY KEY,
  graph_id      text NOT NULL,
  name          text NOT NULL,
  description   text,
  config        jsonb NOT NULL DEFAULT '{}',
  context       jsonb NOT NULL DEFAULT '{}',
  metadata      jsonb NOT NULL DEFAULT '{}',
  version       integer NOT NULL DEFAULT 1,
  organisation  text,              -- null: a system assistant, everybody may use it
  owner         text,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX assistants_by_graph ON assistants (graph_id);

CREATE TABLE threads (
  thread_id         uuid PRIMARY KEY,
  organisation      text NOT NULL,
  owner             text NOT NULL,
  status            text NOT NULL DEFAULT 'idle' CHECK (status IN ('idle', 'busy', 'interrupted', 'error')),
  metadata          jsonb NOT NULL DEFAULT '{}',
  config            jsonb NOT NULL DEFAULT '{}',
  "values"          jsonb,
  interrupts        jsonb NOT NULL DEFAULT '{}',
  error             jsonb,
  temporary         boolean NOT NULL DEFAULT false,  -- made for a stateless run: goes some time after it ended
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  state_updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX threads_by_owner ON threads (organisation, owner, updated_at DESC);
CREATE INDEX threads_temporary ON threads (updated_at) WHERE temporary;
CREATE INDEX threads_by_metadata ON threads USING gin (metadata jsonb_path_ops);

CREATE TABLE runs (
  run_id              uuid PRIMARY KEY,
  queue_position      bigint GENERATED ALWAYS AS IDENTITY,  -- order of acceptance; on one thread also order of execution
  thread_id           uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
  assistant_id        uuid NOT NULL,
  organisation        text NOT NULL,
  owner               text NOT NULL,
  status              text NOT NULL DEFAULT 'pending'
                      CHECK (status IN ('pending', 'running', 'success', 'error', 'timeout', 'interrupted')),
  request             jsonb NOT NULL,
  metadata            jsonb NOT NULL DEFAULT '{}',
  multitask_strategy  text NOT NULL DEFAULT 'enqueue' CHECK (multitask_strategy IN ('enqueue', 'reject', 'interrupt', 'rollback')),
  available_at        timestamptz NOT NULL DEFAULT now(),   -- not claimed before (after_seconds, retry back-off)
  epoch               integer NOT NULL DEFAULT 0,           -- rises with every claim: the fence
  attempt             integer NOT NULL DEFAULT 0,
  worker              text,                                 -- who holds the lease, for people
  lease_until         timestamptz,                          -- database time
  cancel              text CHECK (cancel IN ('interrupt', 'rollback')),
  error               jsonb,
  created_at          timestamptz NOT NULL DEFAULT now(),
  started_at          timestamptz,
  updated_at          timestamptz NOT NULL DEFAULT now(),
  UNIQUE (run_id, epoch)  -- makes epoch a key column: changing it waits for FOR KEY SHARE, renewing a lease does not (see fence)
);
CREATE INDEX runs_pending ON runs (queue_position) WHERE status = 'pending';
CREATE INDEX runs_leased ON runs (lease_until) WHERE status = 'running';
CREATE UNIQUE INDEX runs_one_running_per_thread ON runs (thread_id) WHERE status = 'running';
CREATE INDEX runs_by_thread ON runs (thread_id, queue_position DESC);

-- Raises unless (run, epoch) is the current claim. Called in the transaction of every checkpoint write: FOR KEY SHARE keeps
-- the next claim ("epoch + 1") from happening until that transaction has ended, so a new attempt sees every checkpoint of the
-- one before, and a worker that lost its run stores nothing. Lease renewal does not wait for it.
CREATE FUNCTION fence(run uuid, claimed integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM runs WHERE run_id = run AND epoch = claimed AND status = 'running' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not held with epoch %', run, claimed USING ERRCODE = 'FH001';
  END IF;
END $$;

CREATE TABLE tool_call_log (
  call_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  thread_id     uuid,
  run_id        uuid,
  tool          text NOT NULL,
  arguments     jsonb NOT NULL,
  outcome       text NOT NULL CHECK (outcome IN ('ok', 'error', 'timeout', 'invalid')),
  error         text,
  repair        text,                                       -- how a malformed call was mended, null for a well-formed one
  duration_ms   double precision NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tool_call_log_by_run ON tool_call_log (run_id);
CREATE INDEX tool_call_log_by_time ON tool_call_log (created_at);

-- One row per plain-chat turn (POST /chat), what dashboards and exports read.
CREATE TABLE conversations (
  turn_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  thread_id     uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
  run_id        uuid NOT NULL,
  message       text NOT NULL,
  response      text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversations_by_thread ON conversations (thread_id, turn_id);

-- A document is one ingested file; its chunks are what is searched.
CREATE TABLE documents (
  document_id   uuid PRIMARY KEY,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  path          text NOT NULL,                              -- absolute path, or a name such as sample:handbook.md: which document this is
  source        text NOT NULL,                              -- what citations show: the path below the folder that was ingested
  content_hash  text NOT NULL,                              -- SHA-256 of the file and of the settings that shaped its chunks
  title         text,
  media_type    text NOT NULL,
  bytes         bigint NOT NULL,
  metadata      jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (organisation, owner, path)
);

CREATE TABLE chunks (
  chunk_id      uuid PRIMARY KEY,
  document_id   uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  position      integer NOT NULL,
  page          integer,                                    -- of a PDF, from 1
  heading       text,
  content       text NOT NULL,
  embedding_model text NOT NULL,
  embedding     vector(384) NOT NULL
);
CREATE INDEX chunks_by_document ON chunks (document_id, position);
CREATE INDEX chunks_by_owner ON chunks (organisation, owner, embedding_model);  -- exact search where an owner has few among many
CREATE INDEX chunks_by_embedding ON chunks USING hnsw (embedding vector_cosine_ops);

CREATE TABLE api_keys (
  key_id        uuid PRIMARY KEY,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  name          text NOT NULL,
  key_hash      bytea NOT NULL UNIQUE,                      -- SHA-256 of a 256-bit random key: nothing to guess, so no slow hash
  created_at    timestamptz NOT NULL DEFAULT now(),
  last_used_at  timestamptz,
  revoked_at    timestamptz
);
