-- expired: threads whose time has come, held for the rest of the transaction; those that somebody runs or changes have to wait
SELECT thread_id, ttl_strategy FROM freehold.threads
 WHERE expires_at <= now() AND status <> 'busy'
 ORDER BY expires_at
 LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- active_of: which of these threads have a run that has not ended; asked once they are locked
SELECT DISTINCT thread_id FROM freehold.runs WHERE thread_id = ANY(%(threads)s) AND status IN ('pending', 'running')

-- delete_threads: with their runs and chat turns; checkpoints are removed in the same transaction
DELETE FROM freehold.threads WHERE thread_id = ANY(%(threads)s)

-- renew: threads that keep their latest state are looked at again when as much time has passed once more
UPDATE freehold.threads SET expires_at = now() + make_interval(secs => ttl_minutes * 60) WHERE thread_id = ANY(%(threads)s)
