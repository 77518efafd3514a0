-- find: one run of the caller, whatever its thread
SELECT * FROM freehold.runs WHERE run_id = %(run_id)s AND @on_owned_thread(runs)

-- newest: the run that went on last with a task of the caller
SELECT * FROM freehold.runs
 WHERE thread_id = %(thread_id)s AND metadata->>'a2a_task' = %(task_id)s::text AND @on_owned_thread(runs)
 ORDER BY queue_position DESC LIMIT 1

-- list: tasks of the caller with an assistant, by the runs they began with, newest first
SELECT *, count(*) OVER () AS total FROM freehold.runs
 WHERE assistant_id = %(assistant_id)s AND metadata ? 'a2a_context' AND NOT metadata ? 'a2a_task'
   AND (%(context)s::text IS NULL OR metadata->>'a2a_context' = %(context)s) AND @on_owned_thread(runs)
 ORDER BY queue_position DESC LIMIT %(limit)s OFFSET %(offset)s
