-- waiting: a page of the caller's threads that ask something, with the run that asked; the order is put in from two
SELECT page.*, run.run_id, run.assistant_id
  FROM (SELECT thread_id, metadata, interrupts, state_updated_at
          FROM freehold.threads
         WHERE status = 'interrupted' AND interrupts <> '{{}}' AND @owned
           AND (%(ids)s::uuid[] IS NULL OR thread_id = ANY(%(ids)s::uuid[]))
           AND (%(metadata)s::jsonb = '{{}}' OR metadata @> %(metadata)s::jsonb)
           AND (%(asked_before)s::timestamptz IS NULL OR state_updated_at < %(asked_before)s)
           AND (%(asked_after)s::timestamptz IS NULL OR state_updated_at > %(asked_after)s)
         ORDER BY state_updated_at {order}, thread_id {order}
         LIMIT %(limit)s OFFSET %(offset)s) page
  LEFT JOIN LATERAL (SELECT run_id, assistant_id FROM freehold.runs WHERE runs.thread_id = page.thread_id
                      ORDER BY queue_position DESC LIMIT 1) run ON true
 ORDER BY page.state_updated_at {order}, page.thread_id {order}

-- hold: threads of the caller, locked: until the transaction ends no run is accepted on them, and none of them ends
SELECT threads.*, now() AS present FROM freehold.threads WHERE thread_id = ANY(%(ids)s) AND @owned
 ORDER BY thread_id
   FOR NO KEY UPDATE

-- expired: threads with a question that nobody answered in time, locked; several workers share them
SELECT *, now() AS present FROM freehold.threads
 WHERE status = 'interrupted' AND jsonb_path_exists(interrupts, '$.*[*].value.expires_in')
   AND state_updated_at + make_interval(secs => LEAST(
         (SELECT min((seconds #>> '{}')::numeric)::float8
            FROM jsonb_path_query(interrupts, '$.*[*].value.expires_in ? (@.type() == "number" && @ > 0)') seconds), %(most)s)) <= now()
 ORDER BY state_updated_at
 LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED

-- last_run: the run that asked
SELECT assistant_id, request FROM freehold.runs WHERE thread_id = %(thread_id)s ORDER BY queue_position DESC LIMIT 1

-- give_up: a thread whose question nobody answered in time
UPDATE freehold.threads
   SET status = 'error', status_at_rest = 'error', error = %(error)s, updated_at = now(), state_updated_at = now()
 WHERE thread_id = %(thread_id)s
