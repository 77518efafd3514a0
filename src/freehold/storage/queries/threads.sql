-- create: a thread of the caller; nothing where the id is taken
INSERT INTO freehold.threads (thread_id, organisation, owner, metadata)
VALUES (%(thread_id)s, %(organisation)s, %(owner)s, %(metadata)s)
ON CONFLICT (thread_id) DO NOTHING
RETURNING *

-- get: one thread of the caller
SELECT * FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned

-- hold: one thread of the caller, locked: until the transaction ends no run is accepted on it, and none of it ends
SELECT * FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned
   FOR NO KEY UPDATE

-- patch: merge metadata
UPDATE freehold.threads SET metadata = metadata || %(metadata)s, updated_at = now()
 WHERE thread_id = %(thread_id)s AND @owned
RETURNING *

-- delete: a thread with its runs; checkpoints are removed in the same transaction
DELETE FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned
RETURNING thread_id

-- search: threads of the caller; the sort column is put in from an allow-list
SELECT *, count(*) OVER () AS total FROM freehold.threads
 WHERE @owned
   AND (NOT temporary OR status = 'busy')  -- what a stateless run left is on its way out
   AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)
   AND (%(values)s::jsonb IS NULL OR "values" @> %(values)s::jsonb)
   AND (%(status)s::text IS NULL OR status = %(status)s)
   AND (%(ids)s::uuid[] IS NULL OR thread_id = ANY(%(ids)s::uuid[]))
 ORDER BY {sort_by} {sort_order}, thread_id
 LIMIT %(limit)s OFFSET %(offset)s

-- set_state: what a state update by hand left
UPDATE freehold.threads
   SET "values" = %(values)s, interrupts = %(interrupts)s, updated_at = now(), state_updated_at = now(),
       status = %(status)s, status_at_rest = %(status)s, error = NULL
 WHERE thread_id = %(thread_id)s
