-- insert: one finished tool call
INSERT INTO freehold.tool_call_log (organisation, owner, thread_id, run_id, tool, arguments, outcome, error, repair, duration_ms)
VALUES (%(organisation)s, %(owner)s, %(thread_id)s, %(run_id)s, %(tool)s, %(arguments)s, %(outcome)s, %(error)s, %(repair)s, %(duration_ms)s)

-- of_run: calls of one run of a caller, oldest first
SELECT call_id, tool, arguments, outcome, error, repair, duration_ms, created_at
FROM freehold.tool_call_log
WHERE @mine AND run_id = %(run_id)s
ORDER BY call_id
