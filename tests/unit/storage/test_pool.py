"""What is done before a connection is handed out."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from prometheus_client import REGISTRY
from tests.conftest import Database

from freehold.core.errors import StorageUnavailable
from freehold.storage import pool as module
from freehold.storage.pool import Pool, connection, create_pool, unstorable


async def backend(pool: Pool) -> int:
    async with connection(pool) as conn:
        return conn.info.backend_pid


def end(database: Database, pid: int) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


async def test_a_connection_the_server_has_closed_is_replaced_however_recently_it_was_used(database: Database) -> None:
    async with create_pool(database.app_url, max_size=1) as pool:
        first = await backend(pool)
        end(database, first)
        async with connection(pool) as conn:
            assert await (await conn.execute("SELECT 1 AS one")).fetchone() == {"one": 1}
        assert await backend(pool) != first


async def test_only_a_connection_that_lay_idle_is_asked_whether_it_works(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    check = module.AsyncConnectionPool.check_connection

    async def noted(conn: psycopg.AsyncConnection[object]) -> None:
        asked.append(conn.info.backend_pid)
        await check(conn)

    monkeypatch.setattr(module.AsyncConnectionPool, "check_connection", staticmethod(noted))
    async with create_pool(database.app_url, max_size=1) as pool:
        first = await backend(pool)
        asked.clear()
        assert await backend(pool) == first
        assert asked == []
        monkeypatch.setattr(module, "IDLE_CHECK_SECONDS", 0)
        assert await backend(pool) == first
        assert asked == [first]


async def setting(conn: psycopg.AsyncConnection[dict[str, object]], name: str) -> object:
    row = await (await conn.execute("SELECT current_setting(%s) AS value", (name,))).fetchone()
    assert row
    return row["value"]


async def test_a_session_is_left_as_the_role_has_it(database: Database) -> None:
    async with create_pool(database.app_url, max_size=1) as pool, connection(pool) as conn:
        assert await setting(conn, "search_path") == '"$user", public'
        assert await setting(conn, "idle_in_transaction_session_timeout") == "0"


async def test_a_transaction_is_ended_by_the_server_when_its_process_falls_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LIMIT", "SET LOCAL idle_in_transaction_session_timeout = '100ms'")
    async with create_pool(database.app_url, max_size=1) as pool:
        with pytest.raises(StorageUnavailable):
            async with connection(pool) as conn, conn.transaction():
                await conn.execute("SELECT FROM freehold.upkeep FOR UPDATE")
                while not await ended(database, conn.info.backend_pid):
                    await asyncio.sleep(0.05)
                await conn.execute("SELECT 1")


async def ended(database: Database, pid: int) -> bool:
    async with await psycopg.AsyncConnection.connect(database.superuser_url) as admin:
        return await (await admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,))).fetchone() is None


async def test_a_transaction_keeps_all_or_nothing_and_savepoints_work_within(database: Database) -> None:
    async with create_pool(database.app_url, max_size=1) as pool, connection(pool) as conn:
        store = "INSERT INTO freehold.store_items (organisation, owner, prefix, key, value) VALUES ('o', 'o', 't', %s, '{}')"
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.execute(store, ("lost",))
                raise ZeroDivisionError
        async with conn.transaction():
            await conn.execute(store, ("kept",))
            async with conn.transaction() as savepoint:
                await conn.execute(store, ("undone",))
                raise psycopg.Rollback(savepoint)
            assert await setting(conn, "idle_in_transaction_session_timeout") == "10s"
        async with conn.transaction() as whole:
            await conn.execute(store, ("undone too",))
            raise psycopg.Rollback(whole)
        rows = await (await conn.execute("SELECT key FROM freehold.store_items")).fetchall()
        assert rows == [{"key": "kept"}]


async def test_a_value_no_column_takes_is_told_as_what_it_is(database: Database) -> None:
    async with create_pool(database.app_url, max_size=1) as pool, connection(pool) as conn:
        told = []
        for statement, value in (("SELECT %s::text", "a\0b"), ("SELECT %s::jsonb", '"\\u0000"'), ("SELECT %s::int4", "4294967296")):
            with pytest.raises(psycopg.DataError) as caught:
                await conn.execute(statement, (value,))
            told.append(unstorable(caught.value, "metadata").message)
    nul = "metadata contains a NUL character (\\u0000), which cannot be stored"
    assert told == [nul, nul, 'metadata contains a value that cannot be stored: value "4294967296" is out of range for type integer']


async def test_waiting_for_a_connection_is_counted(database: Database) -> None:
    def waited() -> float:
        return REGISTRY.get_sample_value("freehold_database_wait_seconds_total") or 0.0

    async with create_pool(database.app_url, max_size=1) as pool:
        before = waited()
        async with connection(pool):
            second = asyncio.create_task(backend(pool))
            await asyncio.sleep(0.05)
        await second
    assert waited() - before >= 0.04
