"""Provisioning and migrating: repeatable, safe when many start at once, and with the least rights."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from tests.conftest import Database, make_database
from tests.support.servers import PostgresServer

from freehold.core.errors import Incompatible, StorageUnavailable
from freehold.storage.migrate import known, migrate, provision


async def one(url: str, query: str) -> tuple[object, ...] | None:
    async with await psycopg.AsyncConnection.connect(url, options="-c search_path=freehold,public") as conn:
        return await (await conn.execute(query.encode())).fetchone()


async def test_a_second_migration_has_nothing_to_do(database: Database) -> None:
    assert await migrate(database.owner_url, app_role="freehold_app") == []


async def test_ten_servers_that_start_at_once_do_not_disturb_each_other(postgres: PostgresServer) -> None:
    fresh = make_database(postgres, "ten_at_once")

    async def start() -> list[str]:
        await provision(postgres.url("postgres"), owner_url=fresh.owner_url, app_url=fresh.app_url, reader_url=fresh.reader_url)
        return await migrate(fresh.owner_url, app_role="freehold_app")

    try:
        applied = [names for names in await asyncio.gather(*(start() for _ in range(10))) if names]
        assert applied == [sorted(known())]
        assert await one(fresh.app_url, "SELECT count(*) FROM freehold.runs") == (0,)
    finally:
        async with await psycopg.AsyncConnection.connect(postgres.url("postgres"), autocommit=True) as admin:
            await admin.execute("DROP DATABASE IF EXISTS ten_at_once WITH (FORCE)")


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as conn:
        await conn.execute("INSERT INTO freehold.migrations (name, hash) VALUES ('9999_later.sql', 'x')")
    with pytest.raises(Incompatible, match=r"a newer Freehold made this database \(9999_later.sql\)"):
        await migrate(database.owner_url)


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, options="-c search_path=freehold") as conn:
        await conn.execute("UPDATE freehold.migrations SET hash = 'other'")
    with pytest.raises(Incompatible, match=r"0001_initial.sql was changed"):
        await migrate(database.owner_url)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE freehold.runs",
        "ALTER TABLE freehold.runs ADD COLUMN x int",
        "CREATE TABLE freehold.x ()",
        "DELETE FROM freehold.migrations",
        "CREATE ROLE x",
    ],
)
async def test_the_applications_role_may_only_work_with_rows(database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await one(database.app_url, statement)


@pytest.mark.parametrize("table", ["runs", "threads", "api_keys", "thread_checkpoints", "documents"])
async def test_the_readers_role_sees_none_of_our_tables(database: Database, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await one(database.reader_url, f"SELECT * FROM freehold.{table}")


async def test_a_changed_password_takes_effect_at_the_next_provisioning(postgres: PostgresServer, database: Database) -> None:
    changed = database.app_url.replace("app-secret", "rotated")
    try:
        await provision(postgres.url("postgres"), owner_url=database.owner_url, app_url=changed, reader_url=None)
        assert await one(changed, "SELECT 1") == (1,)
        with pytest.raises(psycopg.OperationalError):
            await one(database.app_url, "SELECT 1")
    finally:
        await provision(postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await migrate("postgresql://nobody@/none?host=/nonexistent")
