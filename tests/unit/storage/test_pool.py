"""What is done before a connection is handed out."""

from __future__ import annotations

import psycopg
import pytest
from tests.conftest import Database

from freehold.storage import pool as module
from freehold.storage.pool import Pool, connection, create_pool


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
