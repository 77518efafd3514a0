-- hold_runs: for the rest of the transaction, before anything else is locked
SELECT freehold.hold_runs(%(organisation)s, %(owner)s, %(owner_limit)s, %(organisation_limit)s)

-- admit_run: hold_runs, then FH429 where one more run is one too many; what is counted was committed once the locks were held, because each
-- statement within a volatile function sees what was committed before it
WITH held AS MATERIALIZED (SELECT freehold.hold_runs(%(organisation)s, %(owner)s, %(owner_limit)s, %(organisation_limit)s))
SELECT freehold.admit_run(%(organisation)s, %(owner)s, %(owner_limit)s, %(organisation_limit)s) FROM held

-- stored: what an owner and all of the organisation hold, as last measured; that somebody asked is noted, so that it is measured again
WITH asked AS (
  INSERT INTO freehold.usage (organisation, owner) VALUES (%(organisation)s, %(owner)s)
  ON CONFLICT (organisation, owner) DO UPDATE SET asked_at = now() WHERE usage.asked_at < now() - make_interval(secs => %(seconds)s)
)
SELECT COALESCE(sum(stored_bytes) FILTER (WHERE owner = %(owner)s), 0)::bigint AS owner_bytes,
       COALESCE(sum(stored_bytes), 0)::bigint AS organisation_bytes
  FROM freehold.usage WHERE organisation = %(organisation)s

-- due: take the owner who was asked about and measured longest ago; no other worker takes the same one
WITH due AS (
  SELECT organisation, owner FROM freehold.usage
   WHERE measured_at IS NULL OR (asked_at > measured_at AND measured_at < now() - make_interval(secs => %(seconds)s))
   ORDER BY measured_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE freehold.usage SET measured_at = now()
  FROM due WHERE usage.organisation = due.organisation AND usage.owner = due.owner
RETURNING usage.organisation, usage.owner

-- measure: what an owner holds; the row is locked after it was counted, so that nobody who asks waits for that
UPDATE freehold.usage SET stored_bytes = freehold.stored_by(%(organisation)s, %(owner)s)
 WHERE organisation = %(organisation)s AND owner = %(owner)s
