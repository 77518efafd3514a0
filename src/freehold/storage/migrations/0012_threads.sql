-- Threads that expire, and searches that stay quick however many threads an owner has.

ALTER TABLE freehold.threads
  ADD COLUMN ttl_minutes  double precision CHECK (ttl_minutes > 0),
  ADD COLUMN ttl_strategy text CHECK (ttl_strategy IN ('delete', 'keep_latest')),
  ADD COLUMN expires_at   timestamptz,             -- when the next sweep takes it; null: never, or what it had is swept already
  ADD CHECK ((ttl_minutes IS NULL) = (ttl_strategy IS NULL));
CREATE INDEX threads_expiring ON freehold.threads (expires_at) WHERE expires_at IS NOT NULL;

-- One index for each order a search may ask for, so that a page is read from its beginning whatever else matches.
DROP INDEX freehold.threads_by_owner;
CREATE INDEX threads_by_created ON freehold.threads (organisation, owner, created_at, thread_id);
CREATE INDEX threads_by_updated ON freehold.threads (organisation, owner, updated_at, thread_id);
CREATE INDEX threads_by_state_updated ON freehold.threads (organisation, owner, state_updated_at, thread_id);
CREATE INDEX threads_by_status ON freehold.threads (organisation, owner, status, thread_id);

-- What a search by values asks for, nearly always: texts and numbers at the top of a state. The whole of it would be a hundred times as
-- much to write at the end of each run. Stored, so that a change of anything else does not compute it again.
CREATE FUNCTION freehold.top_scalars(state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT jsonb_object_agg(key, value) FROM jsonb_each(CASE WHEN jsonb_typeof(state) = 'object' THEN state ELSE '{}' END)
   WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND octet_length(value::text) <= 256
$$;
ALTER TABLE freehold.threads ADD COLUMN searchable jsonb GENERATED ALWAYS AS (freehold.top_scalars("values")) STORED;
CREATE INDEX threads_by_values ON freehold.threads USING gin (searchable jsonb_path_ops);

-- Row-level security hides the indexes on metadata and values from a request: `@>` might tell of rows that are somebody else's, so
-- the server compares only what the policies have let through, row by row. These two look things up as the owner of the tables
-- and let the caller through themselves: who that is they read where the policies do (0008), never from an argument. They give ids
-- alone; whoever asks reads the rows under the policies.

-- The condition of a search: text of ours with numbered parameters, in the order of the functions below.
CREATE FUNCTION freehold.threads_matching(metadata jsonb, must jsonb, "values" jsonb, status text, ids uuid[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted text := ' FROM freehold.threads t WHERE t.organisation = $1';
BEGIN
  IF current_setting('freehold.shared', true) IS DISTINCT FROM 'on' THEN
    wanted := wanted || ' AND t.owner = $2';
  END IF;
  wanted := wanted || ' AND (NOT t.temporary OR t.status = ''busy'')';  -- what a stateless run left is on its way out
  IF metadata <> '{}' THEN
    wanted := wanted || ' AND t.metadata @> $3';
  END IF;
  IF must <> '{}' THEN  -- what the project's own rules let this request see; the caller's own is above
    wanted := wanted || ' AND t.metadata @> $7';
  END IF;
  IF "values" <> '{}' AND freehold.top_scalars("values") IS DISTINCT FROM "values" THEN
    wanted := wanted || ' AND t."values" @> $4';
  END IF;
  IF freehold.top_scalars("values") IS NOT NULL THEN
    wanted := wanted || ' AND t.searchable @> freehold.top_scalars($4)';
  END IF;
  IF status IS NOT NULL THEN
    wanted := wanted || ' AND t.status = $5';
  END IF;
  IF ids IS NOT NULL THEN
    wanted := wanted || ' AND t.thread_id = ANY($6)';
  END IF;
  RETURN wanted;
END $$;

-- One page of the caller's threads that match, in order. Where they are known to be `few`, all of them are looked up and sorted; else
-- the index of the order is walked until the page is full. The planner cannot choose between the two: it takes a short page for a
-- short walk, also where only one thread in a thousand matches.
CREATE FUNCTION freehold.find_threads(metadata jsonb, must jsonb, "values" jsonb, status text, ids uuid[], sort_by text, descending boolean,
                                      few boolean, most integer, beyond integer)
RETURNS TABLE (thread_id uuid, place bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  direction text := CASE WHEN descending THEN ' DESC' ELSE ' ASC' END;
  first_key text := CASE sort_by WHEN 'created_at' THEN 't.created_at' WHEN 'updated_at' THEN 't.updated_at'
                                 WHEN 'state_updated_at' THEN 't.state_updated_at' WHEN 'status' THEN 't.status' ELSE 't.thread_id' END;
  matching text := 'SELECT t.thread_id, ' || first_key || ' AS key' || freehold.threads_matching(metadata, must, "values", status, ids);
BEGIN
  RETURN QUERY EXECUTE
    'SELECT page.thread_id, row_number() OVER () FROM (SELECT found.thread_id FROM (' || matching
      || CASE WHEN few THEN ' OFFSET 0' ELSE '' END  -- keeps the limit from what is looked up
      || ') found ORDER BY found.key' || direction || ', found.thread_id' || direction || ' LIMIT $8 OFFSET $9) page'
    USING current_setting('freehold.organisation', true), current_setting('freehold.owner', true), metadata, "values", status, ids,
          must, most, beyond;
END $$;

-- How many of the caller's threads match; it stops counting at `most`, where that is not null.
CREATE FUNCTION freehold.count_threads(metadata jsonb, must jsonb, "values" jsonb, status text, ids uuid[], most bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  total bigint;
BEGIN
  EXECUTE 'SELECT count(*) FROM (SELECT' || freehold.threads_matching(metadata, must, "values", status, ids) || ' LIMIT $8) found'
    INTO total
    USING current_setting('freehold.organisation', true), current_setting('freehold.owner', true), metadata, "values", status, ids, must, most;
  RETURN total;
END $$;
