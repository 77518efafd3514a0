-- Quotas. Without a limit none of this is called, and nothing but the index is kept.

-- What an owner has under way is counted while a run is accepted.
CREATE INDEX runs_active_by_owner ON freehold.runs (organisation, owner) WHERE status IN ('pending', 'running');

-- What owners hold, as a worker last measured it: counting it anew for every run would cost more than the run.
CREATE TABLE freehold.usage (
  organisation  text NOT NULL,
  owner         text NOT NULL,
  stored_bytes  bigint NOT NULL DEFAULT 0,
  asked_at      timestamptz NOT NULL DEFAULT now(),   -- when somebody last wanted to know
  measured_at   timestamptz,                          -- null: not yet
  PRIMARY KEY (organisation, owner)
);
CREATE INDEX usage_by_age ON freehold.usage (measured_at NULLS FIRST);

-- For the rest of the transaction: nobody else accepts a run that counts for the same owner or organisation. First the organisation,
-- then the owner, and both before any thread, so that no two wait for each other.
CREATE FUNCTION freehold.hold_runs(org text, own text, owner_limit integer, organisation_limit integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF organisation_limit IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('freehold.runs/' || org, 0));
  END IF;
  IF owner_limit IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('freehold.runs/' || length(org) || '/' || org || '/' || own, 0));
  END IF;
END $$;

-- Raises where one more run would be one too many; called with `hold_runs`, before the run is stored. As the tables' owner, because
-- row security shows a request no runs but its own. Each statement sees what was committed before it: whoever held the locks has ended.
-- Runs that are asked to stop have made room already.
CREATE FUNCTION freehold.admit_run(org text, own text, owner_limit integer, organisation_limit integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF owner_limit IS NOT NULL AND owner_limit <= (SELECT count(*) FROM freehold.runs
       WHERE organisation = org AND owner = own AND status IN ('pending', 'running') AND cancel IS NULL) THEN
    RAISE EXCEPTION 'concurrent_runs' USING ERRCODE = 'FH429';
  END IF;
  IF organisation_limit IS NOT NULL AND organisation_limit <= (SELECT count(*) FROM freehold.runs
       WHERE organisation = org AND status IN ('pending', 'running') AND cancel IS NULL) THEN
    RAISE EXCEPTION 'organisation.concurrent_runs' USING ERRCODE = 'FH429';
  END IF;
END $$;

-- Bytes that an owner holds, as they lie on the disk (compressed where PostgreSQL did so): threads with their checkpoints and runs,
-- documents and the store. Indexes and the room of removed rows are left out.
CREATE FUNCTION freehold.stored_by(org text, own text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
  total bigint := 0;
  part bigint;
  held record;
BEGIN
  FOR held IN
    SELECT c.relname AS name, c.relname IN ('threads', 'documents', 'chunks', 'store_items', 'store_vectors') AS has_owner,
           string_agg(format('COALESCE(pg_column_size(held.%I), 0)', a.attname), ' + ') AS size
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE n.nspname = 'freehold' AND c.relkind = 'r'
       AND c.relname IN ('threads', 'documents', 'chunks', 'store_items', 'store_vectors', 'runs', 'thread_checkpoints', 'thread_writes',
                         'thread_messages', 'thread_blobs')
     GROUP BY c.relname
  LOOP
    IF held.has_owner THEN
      EXECUTE format('SELECT sum(%s) FROM freehold.%I held WHERE organisation = $1 AND owner = $2', held.size, held.name)
         INTO part USING org, own;
    ELSE
      EXECUTE format('SELECT sum(%s) FROM freehold.threads whose JOIN freehold.%I held ON held.thread_id = whose.thread_id%s
                       WHERE whose.organisation = $1 AND whose.owner = $2', held.size, held.name,
                     CASE WHEN held.name = 'runs' THEN '' ELSE '::text' END)
         INTO part USING org, own;
    END IF;
    total := total + COALESCE(part, 0);
  END LOOP;
  RETURN total;
END $$;
