-- before: when something of this age was made, on the database's clock
SELECT now() - %(older_than)s::interval AS before

-- count: all threads
SELECT count(*) AS threads FROM freehold.threads

-- prunable: of the next threads, those with a checkpoint that is old and not the newest of its namespace, with how many they have;
-- and all that were looked at. The primary key of the checkpoints answers it without reading them.
WITH page AS MATERIALIZED (
  SELECT thread_id, state_updated_at, created_at FROM freehold.threads
   WHERE %(after)s::uuid IS NULL OR thread_id > %(after)s ORDER BY thread_id LIMIT %(page)s
), found AS (
  SELECT thread_id, (SELECT count(*) FROM freehold.thread_checkpoints c WHERE c.thread_id = page.thread_id::text) AS checkpoints
    FROM page
   WHERE created_at < %(before)s
     AND EXISTS (SELECT FROM freehold.thread_checkpoints c
                  WHERE c.thread_id = page.thread_id::text
                    AND CASE WHEN substr(c.checkpoint_id, 15, 1) = '6' AND length(c.checkpoint_id) = 36
                             THEN c.checkpoint_id < %(first_id)s ELSE page.state_updated_at < %(before)s END
                    AND EXISTS (SELECT FROM freehold.thread_checkpoints newer
                                 WHERE newer.thread_id = c.thread_id AND newer.checkpoint_ns = c.checkpoint_ns
                                   AND newer.checkpoint_id > c.checkpoint_id))
)
SELECT ARRAY(SELECT thread_id FROM found ORDER BY thread_id) AS threads,
       ARRAY(SELECT checkpoints FROM found ORDER BY thread_id) AS checkpoints,
       ARRAY(SELECT thread_id FROM page ORDER BY thread_id) AS page

-- untouched: of the next threads, those that nothing has happened on since; the rest as above
WITH page AS MATERIALIZED (
  SELECT thread_id, GREATEST(created_at, updated_at, state_updated_at) < %(before)s AS is_untouched FROM freehold.threads
   WHERE %(after)s::uuid IS NULL OR thread_id > %(after)s ORDER BY thread_id LIMIT %(page)s
), found AS (
  SELECT thread_id, (SELECT count(*) FROM freehold.thread_checkpoints c WHERE c.thread_id = page.thread_id::text) AS checkpoints
    FROM page WHERE is_untouched
)
SELECT ARRAY(SELECT thread_id FROM found ORDER BY thread_id) AS threads,
       ARRAY(SELECT checkpoints FROM found ORDER BY thread_id) AS checkpoints,
       ARRAY(SELECT thread_id FROM page ORDER BY thread_id) AS page

-- hold_resting: lock those of these threads that nobody runs or changes: no run is accepted on them until the transaction ends
SELECT thread_id, state_updated_at < %(before)s AS is_idle, GREATEST(updated_at, state_updated_at) < %(before)s AS is_untouched
  FROM freehold.threads
 WHERE thread_id = ANY(%(threads)s) AND status <> 'busy'
 ORDER BY thread_id
   FOR UPDATE SKIP LOCKED

-- active_of: which of these threads have a run that has not ended; asked once they are locked
SELECT DISTINCT thread_id FROM freehold.runs WHERE thread_id = ANY(%(threads)s) AND status IN ('pending', 'running')

-- delete_threads: with their runs and chat turns; checkpoints are removed in the same transaction
DELETE FROM freehold.threads WHERE thread_id = ANY(%(threads)s)

-- take_job: the next piece of a shared job, where it is due and no other worker is at it
SELECT position FROM freehold.upkeep WHERE job = %(job)s AND due_at <= now() FOR UPDATE SKIP LOCKED

-- note_job: where the job goes on; a round that is over begins again later
UPDATE freehold.upkeep
   SET position = %(after)s,
       due_at = CASE WHEN %(after)s::uuid IS NULL THEN now() + make_interval(secs => %(rest_seconds)s) ELSE now() END
 WHERE job = %(job)s

-- size: bytes of the checkpoint tables, indexes and TOAST included
SELECT pg_total_relation_size('freehold.thread_checkpoints') + pg_total_relation_size('freehold.thread_writes')
       + pg_total_relation_size('freehold.thread_messages') + pg_total_relation_size('freehold.thread_blobs') AS bytes
