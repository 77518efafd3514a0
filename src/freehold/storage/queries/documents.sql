-- list: the caller's documents, newest first
SELECT d.*, (SELECT count(*) FROM freehold.chunks c WHERE c.document_id = d.document_id) AS chunks
  FROM freehold.documents d
 WHERE @mine(d)
 ORDER BY d.updated_at DESC, d.source
 LIMIT %(limit)s

-- any: whether the caller has a document
SELECT 1 FROM freehold.documents WHERE @mine LIMIT 1

-- count: how many documents and chunks the caller has, and how many of these chunks another embedding model made
SELECT (SELECT count(*) FROM freehold.documents WHERE @mine) AS documents,
       count(*) AS chunks,
       count(*) FILTER (WHERE embedding_model <> %(model)s) AS other_model
  FROM freehold.chunks
 WHERE @mine

-- below: what is stored of files in a folder (prefix ends with a slash) or of one file
SELECT document_id, path, source, content_hash
  FROM freehold.documents
 WHERE @mine AND (path = %(path)s OR starts_with(path, %(prefix)s))

-- named: documents by id, path or source, or below a folder of either
SELECT document_id, path, source, content_hash
  FROM freehold.documents
 WHERE @mine
   AND (%(name)s IN (document_id::text, path, source) OR starts_with(path, %(prefix)s) OR starts_with(source, %(prefix)s))

-- rename: show an unchanged document under the source it has now
UPDATE freehold.documents SET source = %(source)s
 WHERE document_id = %(document_id)s AND @mine

-- replace: store a document under its path; no row where the same content is there already (another ingest was first).
-- The row lock of the conflict makes two ingests of one file follow each other.
INSERT INTO freehold.documents (document_id, organisation, owner, path, source, content_hash, title, media_type, bytes, metadata)
VALUES (%(document_id)s, %(organisation)s, %(owner)s, %(path)s, %(source)s, %(content_hash)s, %(title)s, %(media_type)s, %(bytes)s, %(metadata)s)
ON CONFLICT (organisation, owner, path) DO UPDATE
   SET source = EXCLUDED.source, content_hash = EXCLUDED.content_hash, title = EXCLUDED.title, media_type = EXCLUDED.media_type,
       bytes = EXCLUDED.bytes, metadata = EXCLUDED.metadata, updated_at = now()
 WHERE documents.content_hash <> EXCLUDED.content_hash
RETURNING document_id

-- clear: remove a document's chunks before new ones are written
DELETE FROM freehold.chunks WHERE document_id = %(document_id)s AND @mine

-- add: one chunk
INSERT INTO freehold.chunks (chunk_id, document_id, organisation, owner, position, page, heading, content, embedding_model, embedding)
VALUES (%(chunk_id)s, %(document_id)s, %(organisation)s, %(owner)s, %(position)s, %(page)s, %(heading)s, %(content)s, %(model)s,
        %(embedding)s::vector)

-- remove: forget documents; their chunks go with them
DELETE FROM freehold.documents
 WHERE @mine AND document_id = ANY(%(document_ids)s)

-- tune: how a search walks the graph, for this transaction. Iterative: it goes on until the filter has let enough rows through.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %(ef_search)s, true)

-- nearest: the caller's chunks nearest to a vector, through the graph. No threshold in here: beside ORDER BY ... LIMIT it returns too few
-- rows. Relaxed order is nearly sorted, hence the second sort (the "+ 0" keeps the planner from trusting the first).
WITH nearest AS MATERIALIZED (
  SELECT chunk_id, document_id, page, heading, content, embedding <=> %(vector)s::vector AS distance
    FROM freehold.chunks
   WHERE @mine AND embedding_model = %(model)s
   ORDER BY embedding <=> %(vector)s::vector
   LIMIT %(top_k)s
)
SELECT n.chunk_id, n.document_id, d.source, n.page, n.heading, n.content, 1 - n.distance AS score
  FROM nearest n JOIN freehold.documents d USING (document_id)
 ORDER BY n.distance + 0, n.chunk_id

-- nearest_exact: the same without the graph, for an owner with few chunks among many: the graph's walk ends before it has met them
WITH mine AS MATERIALIZED (
  SELECT chunk_id, document_id, page, heading, content, embedding <=> %(vector)s::vector AS distance
    FROM freehold.chunks
   WHERE @mine AND embedding_model = %(model)s
)
SELECT m.chunk_id, m.document_id, d.source, m.page, m.heading, m.content, 1 - m.distance AS score
  FROM mine m JOIN freehold.documents d USING (document_id)
 ORDER BY m.distance, m.chunk_id
 LIMIT %(top_k)s
