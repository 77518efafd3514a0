-- owned: whether the caller has such a thread
SELECT thread_id FROM freehold.threads WHERE thread_id = %(thread_id)s AND @owned

-- totals: rows and bytes of a thread's checkpoints and of what its tasks wrote
SELECT (SELECT count(*) FROM freehold.thread_checkpoints WHERE thread_id = %(thread)s) AS checkpoints,
       (SELECT COALESCE(sum(octet_length(state) + octet_length(metadata::text)), 0)::bigint
          FROM freehold.thread_checkpoints WHERE thread_id = %(thread)s) AS checkpoint_bytes,
       (SELECT count(*) FROM freehold.thread_writes WHERE thread_id = %(thread)s) AS writes,
       (SELECT COALESCE(sum(octet_length(writes)), 0)::bigint FROM freehold.thread_writes WHERE thread_id = %(thread)s) AS write_bytes

-- messages: the size of each message of a thread, and those themselves that refer to a content stored elsewhere
SELECT position, octet_length(message) AS bytes, CASE WHEN type = ANY(%(referring)s) THEN message END AS referring
  FROM freehold.thread_messages WHERE thread_id = %(thread)s

-- blobs: the size of each large value of a thread
SELECT digest, octet_length(value) AS bytes FROM freehold.thread_blobs WHERE thread_id = %(thread)s

-- states: the next checkpoints of a thread
SELECT checkpoint_ns, checkpoint_id, state FROM freehold.thread_checkpoints
 WHERE thread_id = %(thread)s AND (checkpoint_ns, checkpoint_id) > (%(ns)s, %(id)s)
 ORDER BY checkpoint_ns, checkpoint_id LIMIT %(page)s
