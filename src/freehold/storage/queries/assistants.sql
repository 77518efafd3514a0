-- sync: make or refresh the system assistant of a graph
INSERT INTO freehold.assistants (assistant_id, graph_id, name, description, metadata)
VALUES (%(assistant_id)s, %(graph_id)s, %(name)s, %(description)s, '{"created_by": "system"}')
ON CONFLICT (assistant_id) DO UPDATE SET graph_id = EXCLUDED.graph_id, name = EXCLUDED.name, description = EXCLUDED.description,
       updated_at = CASE WHEN assistants.description IS DISTINCT FROM EXCLUDED.description THEN now() ELSE assistants.updated_at END

-- get: an assistant the caller may use
SELECT * FROM freehold.assistants
 WHERE assistant_id = %(assistant_id)s AND (owner IS NULL OR @owned)

-- search: assistants the caller may use, of graphs that are loaded
SELECT *, count(*) OVER () AS total FROM freehold.assistants
 WHERE (owner IS NULL OR @owned)
   AND graph_id = ANY(%(loaded)s)
   AND (%(graph_id)s::text IS NULL OR graph_id = %(graph_id)s)
   AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)
   AND (%(name)s::text IS NULL OR name ILIKE '%%' || %(name)s || '%%')
 ORDER BY {sort_by} {sort_order}, assistant_id
 LIMIT %(limit)s OFFSET %(offset)s
