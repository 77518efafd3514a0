-- append: several entries at once
INSERT INTO freehold.audit_log (at, organisation, owner, credential, action, objects, status, request_id, address)
SELECT entry.at, entry.organisation, entry.owner, entry.credential, entry.action, entry.objects::jsonb, entry.status, entry.request_id,
       entry.address
  FROM unnest(%(at)s::timestamptz[], %(organisation)s::text[], %(owner)s::text[], %(credential)s::text[], %(action)s::text[],
              %(objects)s::text[], %(status)s::integer[], %(request_id)s::text[], %(address)s::text[])
       AS entry (at, organisation, owner, credential, action, objects, status, request_id, address)

-- list: what was done in the caller's organisation, newest first
SELECT * FROM freehold.audit_log
 WHERE @mine
   AND (%(by)s::text IS NULL OR owner = %(by)s)
   AND (%(action)s::text IS NULL OR action = %(action)s OR split_part(action, '.', 1) = %(action)s)
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY entry_id DESC LIMIT %(limit)s OFFSET %(offset)s

-- list_all: what was done by anybody, for who operates the stack
SELECT * FROM freehold.audit_log
 WHERE (%(by)s::text IS NULL OR owner = %(by)s)
   AND (%(action)s::text IS NULL OR action = %(action)s OR split_part(action, '.', 1) = %(action)s)
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY entry_id DESC LIMIT %(limit)s OFFSET %(offset)s

-- moment: an age ago, on the database's clock
SELECT now() - %(age)s::interval AS since

-- forget: entries that are older; what is younger than a day stays
SELECT freehold.forget_audit(%(older_than)s::interval) AS gone
