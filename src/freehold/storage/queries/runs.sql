-- enqueue: accept a run on an existing thread of the caller; the thread row lock orders runs of one thread
WITH thread AS (
  UPDATE freehold.threads
     SET status = 'busy', updated_at = now(), temporary = false,  -- somebody goes on with it
         config = %(thread_config)s,
         metadata = metadata || jsonb_build_object('graph_id', %(graph_id)s::text, 'assistant_id', %(assistant_id)s::text),
         graph_before_runs = COALESCE(graph_before_runs, jsonb_strip_nulls(jsonb_build_object(
           'graph_id', metadata->'graph_id', 'assistant_id', metadata->'assistant_id')))
   WHERE thread_id = %(thread_id)s AND @owned
  RETURNING thread_id, metadata
)
INSERT INTO freehold.runs (run_id, thread_id, assistant_id, organisation, owner, request, metadata, multitask_strategy, available_at)
SELECT %(run_id)s, thread_id, %(assistant_id)s, %(organisation)s, %(owner)s, %(request)s, %(metadata)s, %(multitask_strategy)s,
       now() + make_interval(secs => %(after_seconds)s)
  FROM thread
RETURNING *

-- make_thread: where it is missing; an id that is taken stays whose it is
INSERT INTO freehold.threads (thread_id, organisation, owner, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (%(thread_id)s, %(organisation)s, %(owner)s, %(must)s::jsonb, %(ttl_minutes)s, %(ttl_strategy)s,
        now() + make_interval(secs => %(ttl_minutes)s::float8 * 60))
ON CONFLICT (thread_id) DO NOTHING

-- enqueue_stateless: accept a run on a thread made for it
WITH thread AS (
  INSERT INTO freehold.threads (thread_id, organisation, owner, status, temporary, config, graph_before_runs, ttl_minutes, ttl_strategy, expires_at,
                                metadata)
  VALUES (%(thread_id)s, %(organisation)s, %(owner)s, 'busy', %(temporary)s, %(thread_config)s, '{}', %(ttl_minutes)s, %(ttl_strategy)s,
          now() + make_interval(secs => %(ttl_minutes)s::float8 * 60),
          %(must)s::jsonb || jsonb_build_object('graph_id', %(graph_id)s::text, 'assistant_id', %(assistant_id)s::text))
  RETURNING thread_id
)
INSERT INTO freehold.runs (run_id, thread_id, assistant_id, organisation, owner, request, metadata, multitask_strategy, available_at)
SELECT %(run_id)s, thread_id, %(assistant_id)s, %(organisation)s, %(owner)s, %(request)s, %(metadata)s, %(multitask_strategy)s,
       now() + make_interval(secs => %(after_seconds)s)
  FROM thread
RETURNING *

-- lock_thread: hold the caller's thread for the rest of the transaction
SELECT thread_id FROM freehold.threads
 WHERE thread_id = %(thread_id)s AND @owned
   FOR NO KEY UPDATE

-- active: runs of a thread that have not ended, oldest first
SELECT * FROM freehold.runs WHERE thread_id = %(thread_id)s AND status IN ('pending', 'running') ORDER BY queue_position

-- get: one run of the caller
SELECT *, EXTRACT(epoch FROM now() - updated_at)::float8 AS untouched_seconds FROM freehold.runs
 WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s AND @on_owned_thread(runs)

-- list: runs of a thread of the caller, newest first, each row with how many there are in all; one row without a run where the page is empty
SELECT page.*, counted.total
  FROM (SELECT count(*) AS total FROM freehold.runs
         WHERE thread_id = %(thread_id)s AND @on_owned_thread(runs) AND (%(status)s::text IS NULL OR status = %(status)s)) counted
  LEFT JOIN LATERAL (SELECT * FROM freehold.runs
                      WHERE thread_id = %(thread_id)s AND @on_owned_thread(runs) AND (%(status)s::text IS NULL OR status = %(status)s)
                      ORDER BY queue_position DESC LIMIT %(limit)s OFFSET %(offset)s) page ON true
 ORDER BY page.queue_position DESC

-- delete: remove a run that is not active
DELETE FROM freehold.runs
 WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s AND @on_owned_thread(runs)
   AND status NOT IN ('pending', 'running')
RETURNING run_id

-- claim: take runs that may start now: what has begun first, then what has waited longest; two workers never get the same one, a
-- thread never has two running. Runs behind a busy thread are passed by a look into a small hash table each, delayed ones not at all.
WITH chosen AS MATERIALIZED (  -- evaluated once, whatever the plan: a lock too many would be a run nobody else can take
  SELECT candidate.run_id
    FROM freehold.runs candidate
   WHERE candidate.status = 'pending' AND candidate.available_at <= now()
     AND candidate.thread_id NOT IN (SELECT running.thread_id FROM freehold.runs running WHERE running.status = 'running')
     AND NOT EXISTS (SELECT FROM freehold.runs other
                      WHERE other.thread_id = candidate.thread_id AND other.status = 'pending'
                        AND (other.epoch = 0, other.queue_position) < (candidate.epoch = 0, candidate.queue_position)
                        -- one that was delayed on purpose holds nobody up; one that has begun is the next, whatever was accepted
                        -- before it: another would start in the middle of it
                        AND (other.available_at <= now() OR other.epoch > 0))
   ORDER BY candidate.epoch = 0, candidate.available_at, candidate.queue_position
   LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE freehold.runs
   SET status = 'running', epoch = epoch + 1, attempt = attempt + 1, worker = %(worker)s, started_at = now(), updated_at = now(),
       lease_until = now() + make_interval(secs => %(lease_seconds)s)
  FROM chosen
 WHERE runs.run_id = chosen.run_id
RETURNING runs.*

-- give_back_lost: runs a worker has claimed without learning of it, because the answer was lost; not counted as attempts
UPDATE freehold.runs
   SET status = 'pending', attempt = attempt - 1, worker = NULL, lease_until = NULL, updated_at = now()
 WHERE worker = %(worker)s AND status = 'running' AND run_id <> ALL(%(known)s::uuid[])
   AND started_at < now() - make_interval(secs => %(older_than)s)  -- the answer to a newer claim may still be on its way
RETURNING run_id

-- renew: extend the leases a worker holds; what comes back is still held, with what was asked of it. A row that another
-- transaction has locked is skipped and told as held: waiting for it would let all other leases run out.
WITH held AS (
  SELECT run_id, cancel FROM freehold.runs JOIN unnest(%(run_ids)s::uuid[], %(epochs)s::integer[]) AS mine (held_run, held_epoch)
      ON run_id = held_run AND epoch = held_epoch AND status = 'running'
), renewed AS (
  UPDATE freehold.runs SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
   WHERE run_id IN (SELECT run_id FROM freehold.runs WHERE run_id IN (SELECT run_id FROM held) AND status = 'running'
                       FOR NO KEY UPDATE SKIP LOCKED)
)
SELECT run_id, cancel FROM held

-- lock_thread_of_run: hold a thread for the rest of the transaction: threads before runs, so that no two wait for each other
SELECT FROM freehold.threads WHERE thread_id = %(thread_id)s FOR NO KEY UPDATE

-- finish: end a run, with the epoch checked, and set its thread to what the run left
WITH done AS (
  UPDATE freehold.runs
     SET status = %(status)s, error = %(error)s, lease_until = NULL, updated_at = now()
   WHERE run_id = %(run_id)s AND epoch = %(epoch)s AND status = 'running' AND (NOT %(if_expired)s OR lease_until < now())
     AND cancel IS DISTINCT FROM 'rollback'  -- asked for in the moment it ended: it is taken back all the same
  RETURNING thread_id, run_id
)
UPDATE freehold.threads
   SET status = CASE WHEN EXISTS (SELECT FROM freehold.runs WHERE runs.thread_id = done.thread_id AND runs.run_id <> done.run_id
                                     AND runs.status IN ('pending', 'running'))
                     THEN 'busy' ELSE %(thread_status)s END,
       status_at_rest = %(thread_status)s,
       "values" = COALESCE(%(values)s, threads."values"), interrupts = COALESCE(%(interrupts)s, threads.interrupts),
       error = %(thread_error)s,
       updated_at = now(), state_updated_at = now()
  FROM done
 WHERE threads.thread_id = done.thread_id
RETURNING done.run_id

-- release: give a run back unfinished (a draining worker); not counted as an attempt
UPDATE freehold.runs
   SET status = 'pending', attempt = attempt - 1, worker = NULL, lease_until = NULL, updated_at = now()
 WHERE run_id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
RETURNING run_id

-- postpone: give a run back because the database went away under it, to be tried again later; not counted as an attempt
UPDATE freehold.runs
   SET status = 'pending', attempt = attempt - 1, worker = NULL, lease_until = NULL, updated_at = now(),
       available_at = now() + make_interval(secs => %(seconds)s)
 WHERE run_id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
RETURNING run_id

-- reap: runs whose lease ran out go back to the queue
UPDATE freehold.runs
   SET status = 'pending', worker = NULL, lease_until = NULL, updated_at = now()
 WHERE status = 'running' AND lease_until < now() AND attempt < %(max_attempts)s
RETURNING run_id

-- poisoned: runs whose worker died too often, with their graph
SELECT runs.*, COALESCE(request->>'graph_id', (SELECT graph_id FROM freehold.assistants WHERE assistants.assistant_id = runs.assistant_id)) AS graph_id
  FROM freehold.runs WHERE status = 'running' AND lease_until < now() AND attempt >= %(max_attempts)s

-- reap_temporary: threads of stateless runs that ended a while ago
DELETE FROM freehold.threads
 WHERE thread_id IN (SELECT thread_id FROM freehold.threads candidate
                      WHERE temporary AND created_at < now() - make_interval(secs => %(keep_seconds)s)  -- for the index
                        AND updated_at < now() - make_interval(secs => %(keep_seconds)s)
                        AND NOT EXISTS (SELECT FROM freehold.runs WHERE runs.thread_id = candidate.thread_id
                                           AND runs.status IN ('pending', 'running'))
                      LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING thread_id

-- cancel_unstarted: end a run that has not begun; one that has left something is ended by the next worker, which reads it
UPDATE freehold.runs SET status = 'interrupted', updated_at = now()
 WHERE run_id = %(run_id)s AND status = 'pending' AND epoch = 0
RETURNING run_id

-- remove_pending: take a run away that nobody holds
DELETE FROM freehold.runs WHERE run_id = %(run_id)s AND status = 'pending' RETURNING run_id

-- ask_to_stop: tell the worker that holds a run, or the next one, to stop it; a rollback asked for once stays one
UPDATE freehold.runs
   SET cancel = CASE WHEN cancel = 'rollback' THEN cancel ELSE %(action)s END,
       available_at = LEAST(available_at, now()), updated_at = now()
 WHERE run_id = %(run_id)s AND status IN ('pending', 'running')

-- threads_to_stop: threads of the caller's runs in a status, behind a thread, in the order in which every transaction locks several
SELECT DISTINCT thread_id FROM freehold.runs
 WHERE status = ANY(%(statuses)s) AND status IN ('pending', 'running')  -- the second for the index on active runs
   AND thread_id > %(behind)s AND @on_owned_thread(runs)
 ORDER BY thread_id LIMIT %(limit)s

-- lock_threads: hold threads of the caller for the rest of the transaction
SELECT thread_id FROM freehold.threads WHERE thread_id = ANY(%(thread_ids)s) AND @owned ORDER BY thread_id FOR NO KEY UPDATE

-- cancel_unstarted_of: `cancel_unstarted` for runs of several threads; null run_ids are all of them
UPDATE freehold.runs SET status = 'interrupted', updated_at = now()
 WHERE thread_id = ANY(%(thread_ids)s) AND status = 'pending' AND status = ANY(%(statuses)s) AND epoch = 0
   AND (%(run_ids)s::uuid[] IS NULL OR run_id = ANY(%(run_ids)s::uuid[])) AND @on_owned_thread(runs)
RETURNING run_id, thread_id

-- remove_pending_of: `remove_pending` for runs of several threads
DELETE FROM freehold.runs
 WHERE thread_id = ANY(%(thread_ids)s) AND status = 'pending' AND status = ANY(%(statuses)s)
   AND (%(run_ids)s::uuid[] IS NULL OR run_id = ANY(%(run_ids)s::uuid[])) AND @on_owned_thread(runs)
RETURNING run_id, thread_id

-- ask_to_stop_of: `ask_to_stop` for runs of several threads
UPDATE freehold.runs
   SET cancel = CASE WHEN cancel = 'rollback' THEN cancel ELSE %(action)s END,
       available_at = LEAST(available_at, now()), updated_at = now()
 WHERE thread_id = ANY(%(thread_ids)s) AND status = ANY(%(statuses)s) AND status IN ('pending', 'running')
   AND (%(run_ids)s::uuid[] IS NULL OR run_id = ANY(%(run_ids)s::uuid[])) AND @on_owned_thread(runs)
RETURNING run_id

-- settle_thread: a thread without active runs is not busy
UPDATE freehold.threads
   SET status = status_at_rest, updated_at = now()
 WHERE thread_id = %(thread_id)s AND status = 'busy'
   AND NOT EXISTS (SELECT FROM freehold.runs WHERE runs.thread_id = %(thread_id)s AND runs.status IN ('pending', 'running'))

-- rewind_graph: once a run is gone, its thread belongs to the graph of the newest run it still has
UPDATE freehold.threads
   SET metadata = metadata || jsonb_build_object('graph_id', newest.graph_id, 'assistant_id', newest.assistant_id::text),
       config = jsonb_build_object('configurable', newest.configurable - '{thread_id,checkpoint_id,checkpoint_ns,checkpoint_map}'::text[])
  FROM (SELECT COALESCE(runs.request->>'graph_id', assistants.graph_id) AS graph_id, runs.assistant_id,
               COALESCE(runs.request->'config'->'configurable', '{}') AS configurable
          FROM freehold.runs LEFT JOIN freehold.assistants USING (assistant_id)  -- it may be deleted since
         WHERE runs.thread_id = %(thread_id)s ORDER BY runs.queue_position DESC LIMIT 1) newest
 WHERE threads.thread_id = %(thread_id)s

-- unset_graph: a thread without any run and state belongs to the graph it was made for, if to any
UPDATE freehold.threads
   SET metadata = metadata - '{graph_id,assistant_id}'::text[] || graph_before_runs, graph_before_runs = NULL, config = '{}'
 WHERE thread_id = %(thread_id)s AND graph_before_runs IS NOT NULL
   AND NOT EXISTS (SELECT FROM freehold.runs WHERE runs.thread_id = %(thread_id)s)
   AND NOT EXISTS (SELECT FROM freehold.thread_checkpoints c WHERE c.thread_id = %(thread_id)s::text)

-- remove: take a run away that is to be rolled back, with the epoch checked
DELETE FROM freehold.runs
 WHERE run_id = %(run_id)s AND epoch = %(epoch)s AND status = 'running' AND cancel = 'rollback'
   AND (NOT %(if_expired)s OR lease_until < now())
RETURNING thread_id

-- progress: where runs stand, for those who wait for them
SELECT run_id, status, epoch, attempt, error FROM freehold.runs WHERE run_id = ANY(%(run_ids)s)

-- queue: how long the queue is, how long its head has waited, and what else is counted for metrics
SELECT count(*) FILTER (WHERE status = 'pending' AND available_at <= now()) AS depth,
       COALESCE(EXTRACT(epoch FROM now() - min(available_at) FILTER (WHERE status = 'pending' AND available_at <= now())), 0)::float8 AS age,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(DISTINCT thread_id) AS active_threads,
       pg_total_relation_size('freehold.thread_checkpoints') + pg_total_relation_size('freehold.thread_writes')
         + pg_total_relation_size('freehold.thread_messages') + pg_total_relation_size('freehold.thread_blobs') AS checkpoint_bytes,
       pg_total_relation_size('freehold.documents') + pg_total_relation_size('freehold.chunks') AS knowledge_bytes
  FROM freehold.runs WHERE status IN ('pending', 'running')
