-- search: a page of the caller's threads; ids come from the indexes (0012), rows under the policies and the conditions of every query.
WITH counted AS MATERIALIZED (
  SELECT freehold.count_threads(%(metadata)s, %(must)s, %(values)s, %(status)s, %(ids)s::uuid[], %(most)s) AS total
), found AS MATERIALIZED (
  SELECT page.* FROM counted, freehold.find_threads(%(metadata)s, %(must)s, %(values)s, %(status)s, %(ids)s::uuid[], %(sort_by)s,
                                                    %(descending)s, counted.total < %(most)s, %(limit)s, %(offset)s) page
)
SELECT threads.thread_id, organisation, owner, status, metadata, config, CASE WHEN %(with_values)s THEN "values" END AS "values",
       interrupts, error, temporary, created_at, updated_at, state_updated_at, status_at_rest, ttl_minutes, ttl_strategy, expires_at,
       (SELECT jsonb_object_agg(wanted.name, taken.value)
          FROM unnest(%(names)s::text[], %(roots)s::text[], %(paths)s::jsonpath[], %(lists)s::boolean[]) AS wanted (name, root, path, is_list),
               LATERAL (SELECT CASE wanted.root WHEN 'values' THEN "values" WHEN 'metadata' THEN metadata
                                                WHEN 'config' THEN config WHEN 'interrupts' THEN interrupts END AS document) part,
               LATERAL (SELECT CASE WHEN wanted.is_list THEN jsonb_path_query_array(part.document, wanted.path, '{}', true)
                                    ELSE jsonb_path_query_first(part.document, wanted.path, '{}', true) END AS value) taken) AS extracted,
       counted.total
  FROM counted, found JOIN freehold.threads USING (thread_id)
 WHERE @owned(threads)
 ORDER BY found.place

-- count: the caller's threads that match, up to `most` where it is not null
SELECT freehold.count_threads(%(metadata)s, %(must)s, %(values)s, %(status)s, %(ids)s::uuid[], %(most)s) AS total
