-- create: a cron of the caller
INSERT INTO freehold.crons (cron_id, organisation, owner, shared, must, assistants, assistant_id, thread_id, schedule, timezone, end_time, enabled,
                            on_run_completed, multitask_strategy, payload, request, metadata, next_run_date)
VALUES (%(cron_id)s, %(organisation)s, %(owner)s, %(runs_shared)s, %(runs_must)s::jsonb, %(runs_assistants)s::jsonb, %(assistant_id)s, %(thread_id)s, %(schedule)s, %(timezone)s,
        %(end_time)s, %(enabled)s, %(on_run_completed)s, %(multitask_strategy)s, %(payload)s, %(request)s,
        %(metadata)s::jsonb || %(must)s::jsonb, %(next_run_date)s)
RETURNING *

-- thread_is_there: whether the caller may run something on a thread
SELECT FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned

-- get: one cron of the caller
SELECT * FROM freehold.crons WHERE cron_id = %(cron_id)s AND @owned

-- hold: the same, for the rest of the transaction: it does not fire meanwhile
SELECT * FROM freehold.crons WHERE cron_id = %(cron_id)s AND @owned FOR NO KEY UPDATE

-- change: what a client may change; the row is held
UPDATE freehold.crons
   SET schedule = %(schedule)s, timezone = %(timezone)s, end_time = %(end_time)s, enabled = %(enabled)s,
       on_run_completed = %(on_run_completed)s, multitask_strategy = %(multitask_strategy)s, payload = %(payload)s, request = %(request)s,
       metadata = %(metadata)s::jsonb || %(must)s::jsonb, next_run_date = %(next_run_date)s, last_error = %(last_error)s, updated_at = now()
 WHERE cron_id = %(cron_id)s AND @owned
RETURNING *

-- delete: a cron of the caller; runs it has started go on
DELETE FROM freehold.crons WHERE cron_id = %(cron_id)s AND @owned RETURNING cron_id

-- search: crons of the caller; the sort column is put in from an allow-list
SELECT *, count(*) OVER () AS total FROM freehold.crons
 WHERE @owned
   AND (%(assistant_id)s::uuid IS NULL OR assistant_id = %(assistant_id)s)
   AND (%(thread_id)s::uuid IS NULL OR thread_id = %(thread_id)s)
   AND (%(enabled)s::boolean IS NULL OR enabled = %(enabled)s)
   AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)
 ORDER BY {sort_by} {sort_order} NULLS LAST, cron_id
 LIMIT %(limit)s OFFSET %(offset)s

-- count: how many the caller has
SELECT count(*) AS total FROM freehold.crons
 WHERE @owned
   AND (%(assistant_id)s::uuid IS NULL OR assistant_id = %(assistant_id)s)
   AND (%(thread_id)s::uuid IS NULL OR thread_id = %(thread_id)s)
   AND (%(enabled)s::boolean IS NULL OR enabled = %(enabled)s)
   AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)

-- due: the cron that has been due longest and that no other worker holds, with the time by the database's clock
SELECT *, now() AS at FROM freehold.crons
 WHERE enabled AND next_run_date <= now()
 ORDER BY next_run_date LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED

-- advance: a cron that is held has fired, or could not
UPDATE freehold.crons
   SET next_run_date = %(next_run_date)s, enabled = %(enabled)s, last_error = %(last_error)s,
       last_run_id = COALESCE(%(run_id)s::uuid, last_run_id), last_run_date = CASE WHEN %(run_id)s::uuid IS NULL THEN last_run_date ELSE now() END
 WHERE cron_id = %(cron_id)s

-- seconds_to_next: until the next cron is due; null where there is none
SELECT EXTRACT(epoch FROM min(next_run_date) - now())::float8 AS seconds FROM freehold.crons WHERE enabled
