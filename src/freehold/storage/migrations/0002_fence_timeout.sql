-- A process that is stopped in the middle of a fenced transaction would hold its run's row for as long as it sleeps: the server
-- ends the transaction. (A setting of PostgreSQL 17; before that, only one that waits for its next statement is ended, see
-- storage/pool.py.)
CREATE OR REPLACE FUNCTION fence(run uuid, claimed integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('server_version_num')::integer >= 170000 THEN
    PERFORM set_config('transaction_timeout', '10s', true);
  END IF;
  PERFORM FROM runs WHERE run_id = run AND epoch = claimed AND status = 'running' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not held with epoch %', run, claimed USING ERRCODE = 'FH001';
  END IF;
END $$;
