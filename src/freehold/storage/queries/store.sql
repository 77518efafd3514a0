-- get: one item of the caller
SELECT prefix, key, value, ttl_minutes, created_at, updated_at FROM freehold.store_items
 WHERE @mine AND prefix = %(prefix)s AND key = %(key)s AND (expires_at IS NULL OR expires_at > now())

-- refresh: let items of the caller live anew, those that live for a time
UPDATE freehold.store_items SET expires_at = now() + ttl_minutes * interval '1 minute'
 WHERE @mine AND prefix = %(prefix)s AND key = ANY(%(keys)s::text[]) AND expires_at > now()

-- put: an item of the caller, new or changed; one that had expired is new
INSERT INTO freehold.store_items AS item (organisation, owner, prefix, key, value, ttl_minutes, expires_at)
VALUES (%(organisation)s, %(owner)s, %(prefix)s, %(key)s, %(value)s::jsonb, %(ttl)s::float8, now() + %(ttl)s::float8 * interval '1 minute')
ON CONFLICT (organisation, owner, prefix, key) DO UPDATE
   SET value = EXCLUDED.value, ttl_minutes = EXCLUDED.ttl_minutes, expires_at = EXCLUDED.expires_at, updated_at = now(),
       created_at = CASE WHEN item.expires_at <= now() THEN now() ELSE item.created_at END
 WHERE @mine(item)
RETURNING item_id

-- forget_vectors: what an item was found by before it changed
DELETE FROM freehold.store_vectors WHERE @mine AND item_id = %(item_id)s

-- add_vectors: what an item is found by
INSERT INTO freehold.store_vectors (item_id, field, organisation, owner, model, dims, embedding)
SELECT %(item_id)s, field, %(organisation)s, %(owner)s, %(model)s, %(dims)s, embedding::public.vector
  FROM unnest(%(fields)s::text[], %(embeddings)s::text[]) AS given(field, embedding)

-- delete: one item of the caller
DELETE FROM freehold.store_items WHERE @mine AND prefix = %(prefix)s AND key = %(key)s

-- search: items of the caller, last changed first; the conditions are put together from known pieces
SELECT prefix, key, value, ttl_minutes, created_at, updated_at, NULL::float8 AS score FROM freehold.store_items
 WHERE @mine AND (expires_at IS NULL OR expires_at > now()) AND {conditions}
 ORDER BY updated_at DESC, item_id DESC LIMIT %(limit)s OFFSET %(offset)s

-- search_words: the same, those first that have words of the query
WITH found AS (
  SELECT item_id, prefix, key, value, ttl_minutes, created_at, updated_at, ts_rank(
           to_tsvector('simple', left(value::text, 100000)), replace(plainto_tsquery('simple', %(query)s)::text, '&', '|')::tsquery
         )::float8 AS rank
    FROM freehold.store_items WHERE @mine AND (expires_at IS NULL OR expires_at > now()) AND {conditions}
)
SELECT prefix, key, value, ttl_minutes, created_at, updated_at, nullif(rank, 0) AS score FROM found
 ORDER BY rank DESC, updated_at DESC, item_id DESC LIMIT %(limit)s OFFSET %(offset)s

-- breadth: how many vectors a search by meaning would compare with, up to a bound
SELECT count(*) AS vectors FROM (
  SELECT FROM freehold.store_items JOIN freehold.store_vectors AS v USING (item_id)
   WHERE @mine(store_items) AND {scope} LIMIT %(bound)s
) AS compared

-- nearest: items of the caller by the cosine of their nearest text, compared with all of them
WITH ranked AS (
  SELECT store_items.item_id, 
         -- A vector of zeros has no direction: NaN.
         coalesce(max(nullif(1 - (v.embedding OPERATOR(public.<=>) %(vector)s::public.vector), 'NaN')), 0) AS score
    FROM freehold.store_items JOIN freehold.store_vectors AS v USING (item_id)
   WHERE @mine(store_items) AND (expires_at IS NULL OR expires_at > now()) AND v.model = %(model)s AND v.dims = %(dims)s AND {conditions}
   GROUP BY store_items.item_id ORDER BY score DESC, item_id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT prefix, key, value, ttl_minutes, created_at, updated_at, score FROM freehold.store_items JOIN ranked USING (item_id)
 WHERE @mine ORDER BY score DESC, item_id

-- tune: how far the walk through a graph of vectors goes, for this transaction
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '200', true),
       set_config('hnsw.max_scan_tuples', '100000', true)

-- nearest_by_graph: the same through the graph of vectors of this length, which is put in from a list of ours; may miss some
WITH near AS (
  SELECT v.item_id, v.embedding::public.vector({dims}) OPERATOR(public.<=>) %(vector)s::public.vector({dims}) AS distance
    FROM freehold.store_vectors AS v JOIN freehold.store_items USING (item_id)
   WHERE v.dims = {dims} AND v.model = %(model)s AND @mine(v) AND @mine(store_items)
     AND (expires_at IS NULL OR expires_at > now()) AND {conditions}
   ORDER BY v.embedding::public.vector({dims}) OPERATOR(public.<=>) %(vector)s::public.vector({dims}) LIMIT %(candidates)s
), ranked AS (
  SELECT item_id, 1 - coalesce(min(nullif(distance, 'NaN')), 1) AS score FROM near GROUP BY item_id ORDER BY score DESC, item_id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT prefix, key, value, ttl_minutes, created_at, updated_at, score FROM freehold.store_items JOIN ranked USING (item_id)
 WHERE @mine ORDER BY score DESC, item_id

-- namespaces: of the caller's items, cut to a depth
SELECT DISTINCT array_to_string((string_to_array(prefix, '.'))[1:coalesce(%(depth)s::integer, 1024)], '.') COLLATE "C" AS namespace FROM freehold.store_items
 WHERE @mine AND (expires_at IS NULL OR expires_at > now()) AND {conditions}
 ORDER BY namespace LIMIT %(limit)s OFFSET %(offset)s

-- sweep: remove items that have expired, so many at a time
DELETE FROM freehold.store_items WHERE item_id IN (
  SELECT item_id FROM freehold.store_items WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
