-- sync: make or refresh the system assistant of a graph
INSERT INTO freehold.assistants (assistant_id, graph_id, name, description, metadata)
VALUES (%(assistant_id)s, %(graph_id)s, %(name)s, %(description)s, '{"created_by": "system"}')
ON CONFLICT (assistant_id) DO UPDATE SET graph_id = EXCLUDED.graph_id, name = EXCLUDED.name, description = EXCLUDED.description,
       updated_at = CASE WHEN assistants.description IS DISTINCT FROM EXCLUDED.description THEN now() ELSE assistants.updated_at END

-- get: an assistant the caller may use
SELECT * FROM freehold.assistants WHERE assistant_id = %(assistant_id)s AND (owner IS NULL OR @owned)

-- create: an assistant of the caller and its first version; nothing where the id is taken
WITH made AS (
  INSERT INTO freehold.assistants (assistant_id, graph_id, name, description, config, context, metadata, organisation, owner)
  VALUES (%(assistant_id)s, %(graph_id)s, %(name)s, %(description)s, %(config)s, %(context)s, %(metadata)s,
          %(organisation)s, %(owner)s)
  ON CONFLICT (assistant_id) DO NOTHING
  RETURNING *
), kept AS (
  INSERT INTO freehold.assistant_versions
         (assistant_id, version, organisation, owner, graph_id, name, description, config, context, metadata, created_at)
  SELECT assistant_id, version, organisation, owner, graph_id, name, description, config, context, metadata, created_at FROM made
)
SELECT * FROM made

-- hold: an assistant of the caller, locked: versions are counted one after the other
SELECT * FROM freehold.assistants WHERE assistant_id = %(assistant_id)s AND @owned FOR NO KEY UPDATE

-- change: make a new version of a held assistant and let it be the current one; null leaves a part as it is
WITH changed AS (
  UPDATE freehold.assistants
     SET graph_id = COALESCE(%(graph_id)s, graph_id), name = COALESCE(%(name)s, name), description = COALESCE(%(description)s, description),
         config = COALESCE(%(config)s, config), context = COALESCE(%(context)s, context), metadata = metadata || %(metadata)s,
         version = (SELECT max(version) FROM freehold.assistant_versions v WHERE v.assistant_id = assistants.assistant_id) + 1,
         updated_at = now()
   WHERE assistant_id = %(assistant_id)s AND @owned
  RETURNING *
), kept AS (
  INSERT INTO freehold.assistant_versions
         (assistant_id, version, organisation, owner, graph_id, name, description, config, context, metadata, created_at)
  SELECT assistant_id, version, organisation, owner, graph_id, name, description, config, context, metadata, updated_at FROM changed
)
SELECT * FROM changed

-- set_latest: make an earlier version the current one again
UPDATE freehold.assistants
   SET graph_id = v.graph_id, name = v.name, description = v.description, config = v.config, context = v.context, metadata = v.metadata,
       version = v.version, updated_at = now()
  FROM freehold.assistant_versions v
 WHERE v.assistant_id = %(assistant_id)s AND v.version = %(version)s
   AND assistants.assistant_id = %(assistant_id)s AND @owned(assistants)
RETURNING assistants.*

-- versions: of an assistant the caller may use, newest first; a system assistant has the one it is
SELECT v.assistant_id, v.version, v.graph_id, v.name, v.description, v.config, v.context, v.metadata, v.created_at,
       count(*) OVER () AS total
  FROM freehold.assistant_versions v JOIN freehold.assistants a USING (assistant_id)
 WHERE v.assistant_id = %(assistant_id)s AND @owned(a) AND (%(filter)s::jsonb IS NULL OR v.metadata @> %(filter)s::jsonb)
 ORDER BY v.version DESC LIMIT %(limit)s OFFSET %(offset)s

-- delete: an assistant of the caller with its versions
DELETE FROM freehold.assistants WHERE assistant_id = %(assistant_id)s AND @owned RETURNING assistant_id

-- threads: those of the caller that ran the assistant last, locked in the order every transaction locks several
SELECT thread_id FROM freehold.threads WHERE metadata->>'assistant_id' = %(assistant_id)s::text AND @owned ORDER BY thread_id FOR UPDATE

-- delete_threads: with their runs
DELETE FROM freehold.threads WHERE thread_id = ANY(%(thread_ids)s) AND @owned

-- search: assistants the caller may use; system ones of graphs that are loaded
SELECT *, count(*) OVER () AS total FROM freehold.assistants
 WHERE (owner IS NULL AND graph_id = ANY(%(loaded)s) OR @owned)
   AND (%(graph_id)s::text IS NULL OR graph_id = %(graph_id)s)
   AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s::jsonb)
   AND (%(name)s::text IS NULL OR name ILIKE '%%' || %(name)s || '%%')
 ORDER BY {sort_by} {sort_order}, assistant_id
 LIMIT %(limit)s OFFSET %(offset)s

-- count: how many a search finds
SELECT count(*) AS total FROM freehold.assistants
 WHERE (owner IS NULL AND graph_id = ANY(%(loaded)s) OR @owned)
   AND (%(graph_id)s::text IS NULL OR graph_id = %(graph_id)s)
   AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s::jsonb)
   AND (%(name)s::text IS NULL OR name ILIKE '%%' || %(name)s || '%%')
