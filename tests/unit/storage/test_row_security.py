"""The second wall: what a request may not see or write, whatever its statement says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, LiteralString

import psycopg
import pytest

from freehold.core.caller import Caller
from freehold.core.ids import assistant_id
from freehold.core.run import RunRequest
from freehold.storage.assistants import Assistants
from freehold.storage.migrate import migrate
from freehold.storage.pool import Pool, act_as_process, as_caller, create_pool, rows_of
from freehold.storage.runs import Runs, Target
from freehold.storage.threads import Threads

ANNA, BOB, ELSEWHERE = Caller("acme", "anna"), Caller("acme", "bob"), Caller("other", "anna")

ALL_THREADS: LiteralString = "SELECT owner FROM freehold.threads ORDER BY owner"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=4) as pool:
        yield pool


async def owners(pool: Pool, caller: Caller) -> list[str]:
    return [row["owner"] for row in await rows_of(pool, caller, ALL_THREADS, {})]


async def test_a_statement_that_forgot_its_condition_sees_the_callers_rows_only(pool: Pool) -> None:
    for caller in (ANNA, BOB, ELSEWHERE):
        thread = await Threads(pool).create(caller)
        await Runs(pool).accept(caller, Target(assistant_id("echo"), "echo", thread.thread_id), RunRequest())
    assert [await owners(pool, caller) for caller in (ANNA, BOB)] == [["anna"], ["bob"]]
    assert await owners(pool, replace(ANNA, shared=True)) == ["anna", "bob"]  # of her organisation
    for statement in (
        "UPDATE freehold.threads SET metadata = '{\"mine\": 1}' RETURNING owner",
        "DELETE FROM freehold.runs RETURNING owner",
    ):
        rows = await rows_of(pool, ANNA, statement, {})
        assert [row["owner"] for row in rows] == ["anna"]
    async with pool.connection() as conn:
        assert len(await (await conn.execute("SELECT FROM freehold.runs")).fetchall()) == 2


async def test_nothing_can_be_written_in_the_name_of_another(pool: Pool) -> None:
    thread = await Threads(pool).create(ANNA)
    for statement in (
        "INSERT INTO freehold.threads (thread_id, organisation, owner) VALUES (gen_random_uuid(), 'acme', 'bob')",
        "INSERT INTO freehold.threads (thread_id, organisation, owner) VALUES (gen_random_uuid(), 'other', 'anna')",
        "UPDATE freehold.threads SET owner = 'bob'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            async with as_caller(pool, ANNA) as conn:
                await conn.execute(statement)
    assert (await Threads(pool).get(ANNA, thread.thread_id)).owner == "anna"


@pytest.mark.parametrize("table", ["thread_checkpoints", "thread_writes", "thread_messages", "thread_blobs", "migrations", "upkeep"])
async def test_what_has_no_owner_is_out_of_reach_of_a_request(pool: Pool, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        async with as_caller(pool, ANNA) as conn:
            await conn.execute(f"SELECT FROM freehold.{table}".encode())
    async with as_caller(pool, ANNA) as conn:
        await act_as_process(conn)
        await conn.execute(b"SELECT FROM freehold.thread_checkpoints")


async def test_everybody_reads_what_belongs_to_nobody_and_nobody_changes_it(pool: Pool) -> None:
    await Assistants(pool).sync({"echo": None})
    read = await rows_of(pool, ANNA, "SELECT graph_id FROM freehold.assistants", {})
    assert [row["graph_id"] for row in read] == ["echo"]
    assert await rows_of(pool, ANNA, "UPDATE freehold.assistants SET name = 'mine' RETURNING name", {}) == []
    assert await rows_of(pool, ANNA, "DELETE FROM freehold.assistants RETURNING name", {}) == []


async def test_a_connection_forgets_its_caller_with_the_transaction(database_url: str) -> None:
    async with create_pool(database_url, max_size=1) as pool:
        await Threads(pool).create(ANNA)
        await asyncio.gather(*(owners(pool, caller) for caller in (ANNA, BOB) * 5))
        with pytest.raises(ZeroDivisionError):
            async with as_caller(pool, BOB):
                raise ZeroDivisionError
        async with pool.connection() as conn:
            row: Any = await (
                await conn.execute("SELECT current_user AS role, current_setting('freehold.owner', true) AS owner")
            ).fetchone()
        assert (row["role"], row["owner"] or None) == ("freehold_app", None)
        assert await owners(pool, ANNA) == ["anna"]


async def test_every_table_with_owners_is_protected(pool: Pool) -> None:
    """A new one is, because `migrate` looks for them; this fails where somebody gave a table an owner by another name."""
    async with pool.connection() as conn:
        tables = await (
            await conn.execute(
                "SELECT c.relname AS name, c.relrowsecurity AS protected, array_agg(p.polname::text) AS policies,"
                " (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns"
                " FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid"
                " WHERE c.relnamespace = 'freehold'::regnamespace AND c.relkind = 'r' GROUP BY c.oid"
            )
        ).fetchall()
    owned = {row["name"]: row for row in tables if {"organisation", "owner"} & set(row["columns"])}
    assert {"threads", "runs", "assistants", "api_keys", "documents", "chunks", "conversations", "tool_call_log"} <= set(owned)
    assert {name: row["policies"] for name, row in owned.items() if not row["protected"] or len(row["policies"]) != 5} == {}
    without_owners = {row["name"] for row in tables} - set(owned)
    assert without_owners <= WITHOUT_OWNERS, f"give them an owner, or say here why not: {without_owners - WITHOUT_OWNERS}"


#: Checkpoints are reached through their thread and never by a request's role; the rest is the server's own.
WITHOUT_OWNERS = {
    "thread_checkpoints", "thread_writes", "thread_messages", "thread_blobs", "migrations", "upkeep",
    "webhook_master", "store", "store_migrations", "store_vectors", "vector_migrations",
}  # fmt: skip


async def test_migrating_again_changes_nothing(owner_database_url: str, pool: Pool) -> None:
    await Threads(pool).create(ANNA)
    assert await migrate(owner_database_url, app_role="freehold_app") == []
    assert await owners(pool, BOB) == []
