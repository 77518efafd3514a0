"""What may reach the database, and what never does."""

from __future__ import annotations

import pytest

from freehold.core.errors import InvalidRequest
from freehold.tools.sql_guard import check_select, limited

SCHEMAS = ("public", "sales")

READS = [
    "SELECT 1",
    "select * from orders where amount > 10 order by amount desc limit 5",
    "SELECT customer, sum(amount) FROM sales.orders GROUP BY 1 HAVING count(*) > 2",
    "WITH big AS (SELECT * FROM orders WHERE amount > 10) SELECT count(*) FROM big",
    "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id",
    "SELECT date_trunc('month', created_at), avg(amount) FROM orders GROUP BY 1",
    "SELECT id FROM orders UNION ALL SELECT id FROM customers",
    "SELECT data->>'city' FROM customers WHERE name ILIKE '%smith%'",
    "SELECT row_number() OVER (PARTITION BY customer_id ORDER BY amount) FROM orders;",
    "SELECT 'DROP TABLE orders; DELETE FROM x' AS text",
    "SELECT * FROM generate_series(1, 3) AS n",
    "SELECT upper(name) -- a comment\nFROM customers",
    "SELECT extract(year FROM now())",
]

REFUSED = [
    ("", "expected one statement, got 0"),
    ("SELECT 1; SELECT 2", "expected one statement, got 2"),
    ("SELECT 1; DROP TABLE orders", "expected one statement, got 2"),
    ("DELETE FROM orders", "only a SELECT"),
    ("UPDATE orders SET amount = 0", "only a SELECT"),
    ("INSERT INTO orders VALUES (1)", "only a SELECT"),
    ("DROP TABLE orders", "only a SELECT"),
    ("CREATE TABLE x AS SELECT 1", "only a SELECT"),
    ("TRUNCATE orders", "only a SELECT"),
    ("GRANT ALL ON orders TO public", "only a SELECT"),
    ("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone", "not DELETE"),
    ("WITH new AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT * FROM new", "not INSERT"),
    ("SELECT * INTO stolen FROM orders", "not INTO"),
    ("SELECT * FROM orders FOR UPDATE", "not LOCK"),
    ("COPY orders TO PROGRAM 'curl evil'", "only a SELECT"),
    ("COPY (SELECT 1) TO '/tmp/x'", "only a SELECT"),
    ("CALL procedure()", "only a SELECT"),
    ("DO $$ BEGIN PERFORM pg_sleep(10); END $$", "only a SELECT"),
    ("SET ROLE postgres", "only a SELECT"),
    ("RESET ALL", "only a SELECT"),
    ("BEGIN", "only a SELECT"),
    ("COMMIT", "only a SELECT"),
    ("EXPLAIN ANALYZE DELETE FROM orders", "only a SELECT"),
    ("VACUUM", "only a SELECT"),
    ("LISTEN channel", "only a SELECT"),
    ("PREPARE x AS SELECT 1", "only a SELECT"),
    ("SELECT pg_sleep(100)", "pg_sleep"),
    ("SELECT PG_SLEEP(100)", "PG_SLEEP"),
    ('SELECT "pg_sleep"(100)', "pg_sleep"),
    ("SELECT pg_catalog.pg_sleep(100)", "named with a schema"),
    ("SELECT pg_read_file('/etc/passwd')", "pg_read_file"),
    ("SELECT * FROM pg_ls_dir('.')", "pg_ls_dir"),
    ("SELECT 1 WHERE pg_terminate_backend(1)", "pg_terminate_backend"),
    ("SELECT lo_import('/etc/passwd')", "lo_import"),
    ("SELECT lo_export(1, '/tmp/x')", "lo_export"),
    ("SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(x int)", "dblink"),
    ("SELECT set_config('role', 'postgres', false)", "set_config"),
    ("SELECT current_setting('data_directory')", "current_setting"),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", "query_to_xml"),
    ("SELECT nextval('orders_id_seq')", "nextval"),
    ("SELECT repeat('x', 1000000000)", "repeat"),
    ("SELECT lpad('x', 1000000000)", "pad"),
    ("SELECT my_own_function()", "my_own_function"),
    ("SELECT public.count(1)", "schema"),
    ("SELECT * FROM pg_shadow", "system catalogue"),
    ("SELECT * FROM pg_catalog.pg_authid", "system catalogue"),
    ("SELECT * FROM information_schema.tables", "system catalogue"),
    ("SELECT (SELECT string_agg(usename, ',') FROM pg_user)", "system catalogue"),
    ("WITH pg_user AS (SELECT 1) SELECT * FROM pg_user", "system catalogue"),
    ("SELECT * FROM freehold.runs", "schema freehold may not be read"),
    ("SELECT * FROM orders WHERE id IN (SELECT run_id FROM freehold.runs)", "schema freehold may not be read"),
    ("SELECT * FROM other.public.orders", "another database"),
    ("SELECT 1 /* unclosed", "not SQL"),
    ("this is not sql at all", "not SQL"),
    ("SELECT '\x00'", "NUL"),
    ("SELECT " + "1+" * 6000 + "1", "longer than"),
]


@pytest.mark.parametrize("sql", READS)
def test_a_plain_reading_statement_passes(sql: str) -> None:
    assert limited(check_select(sql, SCHEMAS), 10).endswith("LIMIT 10")


@pytest.mark.parametrize(("sql", "reason"), REFUSED, ids=[sql[:40] for sql, _ in REFUSED])
def test_anything_else_is_refused_with_what_was_wrong(sql: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_select(sql, SCHEMAS)
    assert reason in refusal.value.message
    assert refusal.value.hint


def test_the_statement_is_written_anew_without_comments() -> None:
    assert limited(check_select("select /* hidden */ 1 -- tail", SCHEMAS), 3) == "SELECT * FROM (SELECT 1) AS answer LIMIT 3"
