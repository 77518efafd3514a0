-- create: a thread of the caller; nothing where the id is taken
INSERT INTO freehold.threads (thread_id, organisation, owner, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (%(thread_id)s, %(organisation)s, %(owner)s, %(metadata)s, %(ttl_minutes)s, %(ttl_strategy)s,
        now() + make_interval(secs => %(ttl_minutes)s::float8 * 60))
ON CONFLICT (thread_id) DO NOTHING
RETURNING *

-- get: one thread of the caller
SELECT * FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned

-- hold: one thread of the caller, locked: until the transaction ends no run is accepted on it, and none of it ends
SELECT * FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned
   FOR NO KEY UPDATE

-- patch: merge metadata; a new time to live counts from now
UPDATE freehold.threads
   SET metadata = metadata || %(metadata)s, updated_at = now(),
       ttl_minutes = COALESCE(%(ttl_minutes)s::float8, ttl_minutes), ttl_strategy = COALESCE(%(ttl_strategy)s, ttl_strategy),
       expires_at = CASE WHEN %(ttl_minutes)s::float8 IS NULL THEN expires_at
                         ELSE now() + make_interval(secs => %(ttl_minutes)s::float8 * 60) END
 WHERE thread_id = %(thread_id)s AND @owned
RETURNING *

-- delete: a thread with its runs; checkpoints are removed in the same transaction
DELETE FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned
RETURNING thread_id

-- hold_resting: lock those of these threads of the caller that nobody runs; no run is accepted on them until the transaction ends
SELECT thread_id FROM freehold.threads WHERE thread_id = ANY(%(threads)s) AND status <> 'busy' AND @owned
 ORDER BY thread_id
   FOR UPDATE

-- active_of: which of these threads have a run that has not ended; asked once they are locked
SELECT DISTINCT thread_id FROM freehold.runs WHERE thread_id = ANY(%(threads)s) AND status IN ('pending', 'running')

-- delete_several: threads of the caller with their runs; checkpoints are removed in the same transaction
DELETE FROM freehold.threads WHERE thread_id = ANY(%(threads)s) AND @owned

-- delete_crons: those of threads that are gone, whosever they are; one that is being looked at finds its thread gone by itself
DELETE FROM freehold.crons
 WHERE cron_id IN (SELECT cron_id FROM freehold.crons WHERE thread_id = ANY(%(threads)s) FOR UPDATE SKIP LOCKED)

-- copy: a thread of the caller once more, as it is without its runs; checkpoints are copied in the same transaction
INSERT INTO freehold.threads (thread_id, organisation, owner, status, status_at_rest, metadata, config, "values", interrupts, error,
                              graph_before_runs, ttl_minutes, ttl_strategy, expires_at)
SELECT %(copy_id)s, %(organisation)s, %(owner)s, status_at_rest, status_at_rest, metadata, config, "values", interrupts, error,
       graph_before_runs, ttl_minutes, ttl_strategy, now() + make_interval(secs => ttl_minutes * 60)
  FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned
RETURNING *

-- part_checkpoints: what a run still writes is not that run's in a copy, or rolling it back would take it there too
UPDATE freehold.thread_checkpoints SET metadata = metadata - 'run_id'
 WHERE thread_id = %(copy)s
   AND metadata->>'run_id' IN (SELECT run_id::text FROM freehold.runs WHERE thread_id = %(thread_id)s AND status IN ('pending', 'running'))

-- part_writes: the same for what its tasks wrote
UPDATE freehold.thread_writes SET run_id = NULL
 WHERE thread_id = %(copy)s
   AND run_id IN (SELECT run_id::text FROM freehold.runs WHERE thread_id = %(thread_id)s AND status IN ('pending', 'running'))

-- set_state: what a state update by hand left
UPDATE freehold.threads
   SET "values" = %(values)s, interrupts = %(interrupts)s, updated_at = now(), state_updated_at = now(),
       status = %(status)s, status_at_rest = %(status)s, error = NULL
 WHERE thread_id = %(thread_id)s
