-- of_thread: what there is to stream of a caller's thread, in the order it began; one row without a run where it has none
SELECT runs.*, EXTRACT(epoch FROM now() - runs.updated_at)::float8 AS untouched_seconds,
       EXTRACT(epoch FROM now() - runs.created_at)::float8 AS age_seconds,
       runs.available_at <= now() AS is_due
  FROM freehold.threads
  LEFT JOIN LATERAL (
    SELECT * FROM freehold.runs
     WHERE runs.thread_id = threads.thread_id AND (runs.status IN ('pending', 'running') OR runs.updated_at >= %(since)s)
     ORDER BY runs.queue_position LIMIT %(limit)s
  ) runs ON true
 WHERE threads.thread_id = %(thread_id)s AND @owned(threads)
 ORDER BY runs.started_at NULLS LAST, runs.queue_position

-- news: of some threads, those with a run that is active or was a moment ago, and those that are gone; for nobody in particular
SELECT asked.thread_id
  FROM unnest(%(thread_ids)s::uuid[]) AS asked (thread_id)
 WHERE EXISTS (SELECT FROM freehold.runs WHERE runs.thread_id = asked.thread_id
                  AND (runs.status IN ('pending', 'running') OR runs.updated_at > now() - make_interval(secs => %(seconds)s)))
    OR NOT EXISTS (SELECT FROM freehold.threads WHERE threads.thread_id = asked.thread_id)

-- clock: what the database takes the time for
SELECT clock_timestamp() AS now
