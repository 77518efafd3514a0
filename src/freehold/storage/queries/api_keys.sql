-- add: store a key's hash; a key that is there already keeps its row, and stays revoked where it was
INSERT INTO freehold.api_keys (key_id, organisation, owner, name, key_hash, scopes, expires_at)
VALUES (%(key_id)s, %(organisation)s, %(owner)s, %(name)s, %(key_hash)s, %(scopes)s, now() + %(lifetime)s::interval)
ON CONFLICT (key_hash) DO UPDATE SET name = EXCLUDED.name, scopes = EXCLUDED.scopes
RETURNING key_id

-- find: whose a key is, what it may do and whether it still may
SELECT key_id, organisation, owner, scopes, expires_at, COALESCE(expires_at <= now(), false) AS expired
  FROM freehold.api_keys WHERE key_hash = %(key_hash)s AND revoked_at IS NULL

-- note_use: now and then, so that it is seen which keys nobody uses any more
UPDATE freehold.api_keys SET last_used_at = now()
 WHERE key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %(seconds)s))

-- list: all keys, newest first
SELECT key_id, organisation, owner, name, scopes, created_at, last_used_at, expires_at, revoked_at, replaced_by,
       COALESCE(expires_at <= now(), false) AS expired
  FROM freehold.api_keys ORDER BY created_at DESC, key_id DESC

-- hold: a key that works, until the end of the transaction
SELECT key_id, replaced_by FROM freehold.api_keys
 WHERE key_id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR UPDATE

-- succeed: another key in its place: the same person, the same rights, and as long a life as it was given
INSERT INTO freehold.api_keys (key_id, organisation, owner, name, key_hash, scopes, expires_at)
SELECT %(new_id)s, organisation, owner, name, %(key_hash)s, scopes, now() + (expires_at - created_at)
  FROM freehold.api_keys WHERE key_id = %(key_id)s
RETURNING key_id, organisation, owner, name, scopes, created_at, last_used_at, expires_at, revoked_at, replaced_by, false AS expired

-- retire: it works for a while longer, never for longer than it would have
UPDATE freehold.api_keys SET replaced_by = %(new_id)s, expires_at = LEAST(expires_at, now() + %(grace)s::interval)
 WHERE key_id = %(key_id)s

-- revoke: end a key at once
UPDATE freehold.api_keys SET revoked_at = now() WHERE key_id = %(key_id)s AND revoked_at IS NULL RETURNING key_id
