-- columns: tables and columns that the connected role may read in the given schemas, for describing them to a model
SELECT table_schema, table_name, column_name, data_type
FROM information_schema.columns
WHERE table_schema = ANY (%(schemas)s)
ORDER BY table_schema, table_name, ordinal_position
LIMIT 2000

-- is_unsafe: whether the connected role could do more than read what it was granted
SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication
       OR EXISTS (SELECT FROM pg_roles mighty
                   WHERE mighty.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
                                            'pg_write_all_data', 'pg_signal_backend', 'pg_maintain')
                     AND pg_has_role(current_user, mighty.oid, 'MEMBER')) AS is_unsafe
FROM pg_roles
WHERE rolname = current_user
