"""query_database against a real Postgres, as the role it gets there."""

from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr

from freehold.config.settings import SqlSection
from freehold.core.errors import Forbidden, InvalidRequest, NotConfigured, StorageUnavailable, TimedOut
from freehold.tools.query_database import ReadOnlyDatabase, tool


@pytest.fixture
async def orders(owner_database_url: str, reader_database_url: str) -> SqlSection:
    async with await psycopg.AsyncConnection.connect(owner_database_url, autocommit=True) as owner:
        await owner.execute("CREATE TABLE public.orders (id int, customer text, amount numeric)")
        await owner.execute("INSERT INTO public.orders SELECT n, 'customer ' || n % 7, n * 1.5 FROM generate_series(1, 500) AS n")
        await owner.execute("GRANT SELECT ON public.orders TO freehold_reader")
        await owner.execute("CREATE TABLE public.secrets (word text)")
        await owner.execute("REVOKE ALL ON public.secrets FROM freehold_reader")
    return SqlSection(url=SecretStr(reader_database_url), row_limit=10, timeout_seconds=1)


async def test_an_empty_query_lists_the_tables_the_role_may_read(orders: SqlSection) -> None:
    listed = await ReadOnlyDatabase(orders).describe()
    assert "orders(id integer, customer text, amount numeric)" in listed
    assert "secrets" not in listed
    assert "runs" not in listed


async def test_a_select_is_answered_as_a_table(orders: SqlSection) -> None:
    answer = await ReadOnlyDatabase(orders).query("SELECT customer, sum(amount) AS total FROM orders GROUP BY 1 ORDER BY 1 LIMIT 1")
    assert answer.splitlines()[0] == "customer | total"
    assert answer.splitlines()[2].startswith("customer 0 | ")
    assert answer.endswith("(1 rows)")


async def test_rows_over_the_limit_are_cut_and_said_to_exist(orders: SqlSection) -> None:
    answer = await ReadOnlyDatabase(orders).query("SELECT id FROM orders ORDER BY id DESC")
    assert answer.splitlines()[2:12] == [str(n) for n in range(500, 490, -1)]
    assert "more rows exist" in answer


async def test_a_slow_query_is_ended_by_the_server(orders: SqlSection) -> None:
    with pytest.raises(TimedOut):
        await ReadOnlyDatabase(orders).query("SELECT count(*) FROM orders a, orders b, orders c, orders d")


async def test_a_wrong_column_is_answered_with_a_hint(orders: SqlSection) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        await ReadOnlyDatabase(orders).query("SELECT nope FROM orders")
    assert "nope" in wrong.value.message
    assert "empty query" in str(wrong.value.hint)


async def test_a_table_without_a_grant_stays_closed(orders: SqlSection) -> None:
    with pytest.raises(InvalidRequest, match="permission denied"):
        await ReadOnlyDatabase(orders).query("SELECT * FROM secrets")


async def test_a_superuser_is_refused(database: object, orders: SqlSection) -> None:
    superuser = SqlSection(url=SecretStr(database.superuser_url))  # type: ignore[attr-defined]
    with pytest.raises(Forbidden):
        await ReadOnlyDatabase(superuser).query("SELECT 1")


async def test_the_transaction_is_read_only_even_for_a_role_that_may_write(orders: SqlSection, owner_database_url: str) -> None:
    owner = SqlSection(url=SecretStr(owner_database_url))
    async with await ReadOnlyDatabase(owner)._connect() as conn:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await conn.execute("DELETE FROM public.orders")
        await conn.rollback()


async def test_a_database_that_is_away_is_said_to_be_away() -> None:
    away = SqlSection(url=SecretStr("postgresql://reader@127.0.0.1:1/none"))
    with pytest.raises(StorageUnavailable):
        await ReadOnlyDatabase(away).query("SELECT 1")


def test_without_a_reader_url_there_is_no_such_tool() -> None:
    with pytest.raises(NotConfigured):
        tool(SqlSection())
