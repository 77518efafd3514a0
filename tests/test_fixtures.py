"""The fixtures promise real, fresh, separate services; everything else in the suite stands on that."""

from __future__ import annotations

import os

import psycopg
import pytest
import redis.asyncio
from psycopg.conninfo import conninfo_to_dict

from freehold.config.env import PROCESS_DEFAULTS
from tests.support import environment
from tests.support.servers import PostgresServer, ValkeyServer


async def _value(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url, options="-c search_path=freehold,public") as conn:
        row = await (await conn.execute(query.encode())).fetchone()
        return row[0] if row else None


async def test_a_database_has_the_migrated_tables(database_url: str) -> None:
    assert await _value(database_url, "SELECT count(*) FROM freehold.runs") == 0
    assert await _value(database_url, "SELECT count(*) FROM freehold.thread_checkpoints") == 0


async def test_a_database_has_pgvector(database_url: str) -> None:
    assert await _value(database_url, "SELECT '[1,0]'::vector <=> '[0,1]'::vector") == 1.0


@pytest.mark.parametrize("attempt", [1, 2])
async def test_what_one_test_writes_the_next_does_not_see(owner_database_url: str, attempt: int) -> None:
    async with await psycopg.AsyncConnection.connect(owner_database_url) as conn:
        await conn.execute("CREATE TABLE freehold.left_behind (id int)")


async def test_the_app_role_owns_nothing(database_url: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await _value(database_url, "TRUNCATE runs")


async def test_the_reader_cannot_see_our_tables(reader_database_url: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
        await _value(reader_database_url, "SELECT count(*) FROM freehold.runs")


async def test_a_wrong_password_is_refused(postgres: PostgresServer, database_url: str) -> None:
    name = str(conninfo_to_dict(database_url)["dbname"])
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await _value(postgres.url(name, "freehold_app", "wrong"), "SELECT 1")


@pytest.mark.parametrize("attempt", [1, 2])
async def test_valkey_is_empty(valkey_url: str, attempt: int) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


async def test_a_killed_valkey_comes_back_empty() -> None:
    server = ValkeyServer()
    try:
        server.start()
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.set("a", "1")
        server.stop(kill=True)
        server.start()
        async with redis.asyncio.Redis.from_url(server.url) as client:
            assert await client.dbsize() == 0
    finally:
        server.remove()


def test_the_environment_is_clean() -> None:
    assert not [name for name in os.environ if name.startswith(("OPENAI_", "DATABASE_", "REDIS_"))]


def test_cleaning_keeps_only_where_gigabytes_are() -> None:
    environ = {"FREEHOLD_HOME": "/x", "FREEHOLD_CACHE": "/y", "OPENAI_API_KEY": "k", "PGHOST": "h", "PATH": "/bin"}
    environment.clean(environ)
    assert {name for name in environ if name.isupper()} == {"FREEHOLD_CACHE", "PATH", "NO_PROXY", *PROCESS_DEFAULTS}
