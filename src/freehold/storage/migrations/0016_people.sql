-- Keys that may do some things, for some time. Those that are there already may do what they could: everything but read the audit log.
ALTER TABLE freehold.api_keys
  ADD COLUMN scopes      text[] NOT NULL DEFAULT '{write}',
  ADD COLUMN expires_at  timestamptz,
  ADD COLUMN replaced_by uuid;                -- the key that a rotation made of it

-- Who did what, when and from where. Nothing of what was sent or answered, and no secret. Rows are only ever added: the roles of
-- the server and of requests may not change or delete them (storage/row_security.py), old ones go by forget_audit below.
CREATE TABLE freehold.audit_log (
  entry_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at            timestamptz NOT NULL,
  organisation  text NOT NULL,                -- empty: nobody was recognised
  owner         text NOT NULL,
  credential    text NOT NULL,                -- key:UUID, token:SUBJECT, or empty
  action        text NOT NULL,                -- e.g. threads.delete
  objects       jsonb NOT NULL,               -- ids by name, e.g. {"thread_id": "…"}
  status        integer NOT NULL,             -- of the answer, e.g. 200 or 403
  request_id    text NOT NULL,
  address       text NOT NULL                 -- the other end of the connection
);
CREATE INDEX audit_log_by_organisation ON freehold.audit_log (organisation, entry_id DESC);
CREATE INDEX audit_log_by_time ON freehold.audit_log USING brin (at);

-- The only way that entries go: whole days that are over, as the owner of the table. What happened today stays, whoever calls this.
CREATE FUNCTION freehold.forget_audit(older_than interval) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE gone bigint;
BEGIN
  DELETE FROM freehold.audit_log WHERE at < now() - greatest(older_than, interval '1 day');
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;
REVOKE ALL ON FUNCTION freehold.forget_audit(interval) FROM PUBLIC;
