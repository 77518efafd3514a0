-- Work that the workers of a stack share: whoever holds the row does the next piece, and says where it goes on.
CREATE TABLE freehold.upkeep (
  job       text PRIMARY KEY,
  position  uuid,                                -- the last thread of the piece before; null: the next round begins
  due_at    timestamptz NOT NULL DEFAULT now()   -- when the next piece may begin
);
INSERT INTO freehold.upkeep (job) VALUES ('prune_checkpoints'), ('prune_threads');

-- With its schema, so that the table is found through a connection pooler that keeps no settings.
CREATE OR REPLACE FUNCTION freehold.fence(run uuid, claimed integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('server_version_num')::integer >= 170000 THEN
    PERFORM set_config('transaction_timeout', '10s', true);
  END IF;
  PERFORM FROM freehold.runs WHERE run_id = run AND epoch = claimed AND status = 'running' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not held with epoch %', run, claimed USING ERRCODE = 'FH001';
  END IF;
END $$;
