-- report: in the transaction that ended runs: what their webhooks are to be told
INSERT INTO freehold.webhook_deliveries (delivery_id, organisation, owner, thread_id, run_id, url, body)
SELECT gen_random_uuid(), runs.organisation, runs.owner, runs.thread_id, runs.run_id, runs.request->>'webhook',
       jsonb_build_object(
         'run_id', runs.run_id, 'thread_id', runs.thread_id, 'assistant_id', runs.assistant_id, 'status', runs.status,
         'metadata', runs.metadata, 'kwargs', runs.request - %(hidden)s::text[], 'multitask_strategy', runs.multitask_strategy,
         'created_at', runs.created_at, 'updated_at', runs.updated_at, 'run_started_at', runs.started_at, 'run_ended_at', now(),
         'values', threads."values", 'interrupts', threads.interrupts)
       || CASE WHEN runs.error IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('error', runs.error) END
  FROM freehold.runs JOIN freehold.threads USING (thread_id)
 WHERE runs.run_id = ANY(%(run_ids)s::uuid[]) AND runs.request->>'webhook' IS NOT NULL
   AND runs.status NOT IN ('pending', 'running') AND runs.updated_at = now()  -- they ended in this transaction
ON CONFLICT (run_id) DO NOTHING

-- claim: deliveries that are due, for a while nobody else's; first tries before repeated ones, so that a receiver that is away holds up
-- itself alone
WITH chosen AS MATERIALIZED (
  SELECT delivery_id FROM freehold.webhook_deliveries
   WHERE status = 'pending' AND next_try_at <= now()
   ORDER BY attempts, next_try_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE freehold.webhook_deliveries deliveries
   SET attempts = attempts + 1, next_try_at = now() + make_interval(secs => %(seconds)s), updated_at = now()
  FROM chosen WHERE deliveries.delivery_id = chosen.delivery_id
RETURNING deliveries.*

-- settle: what came of a try, unless somebody else has tried since
UPDATE freehold.webhook_deliveries
   SET status = %(status)s, last_status = %(last_status)s, last_error = %(last_error)s, updated_at = now(),
       next_try_at = now() + make_interval(secs => %(seconds)s),  -- null where it is over
       delivered_at = CASE WHEN %(status)s = 'delivered' THEN now() END,
       body = CASE WHEN %(status)s = 'pending' THEN body END
 WHERE delivery_id = %(delivery_id)s AND attempts = %(attempts)s AND status = 'pending'

-- forget: those that were over long ago
DELETE FROM freehold.webhook_deliveries
 WHERE delivery_id IN (SELECT delivery_id FROM freehold.webhook_deliveries
                        WHERE status <> 'pending' AND updated_at < now() - make_interval(days => %(days)s)
                        LIMIT 1000 FOR UPDATE SKIP LOCKED)

-- of_run: deliveries of a run of the caller, newest first
SELECT * FROM freehold.webhook_deliveries deliveries
 WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s AND @on_owned_thread(deliveries)
 ORDER BY created_at DESC

-- make_master: the first process that needs it
INSERT INTO freehold.webhook_master (secret) VALUES (%(secret)s) ON CONFLICT DO NOTHING

-- master: what secrets are derived from
SELECT secret FROM freehold.webhook_master
