"""What only a pooler can break: sessions that are not ours, transactions that must stay whole, processes that die behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph_sdk import get_client
from psycopg.conninfo import make_conninfo
from tests.conftest import Database, make_database
from tests.integration.test_worker import Bench, outcome, working
from tests.support.pgbouncer import PgBouncer
from tests.support.processes import Processes, Scrape
from tests.support.servers import PostgresServer

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import Incompatible
from freehold.core.ids import assistant_id
from freehold.core.run import RunRequest
from freehold.events.log import EventLog, create_client
from freehold.graphs.registry import load_project
from freehold.storage.migrate import migrate, provision
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Claimant, Runs, Target
from freehold.storage.store import Stores
from freehold.storage.threads import Threads

pytestmark = pytest.mark.slow

ANNA = Caller("acme", "anna")
PROJECT = Path(__file__).parents[1] / "project" / "langgraph.json"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Many more connections than PgBouncer has to the server."""
    async with create_pool(database_url, max_size=30, min_size=30) as pool:
        yield pool


async def one(pool: Pool, statement: str) -> Any:
    async with pool.connection() as conn:
        row = await (await conn.execute(statement.encode())).fetchone()
        assert row
        return next(iter(row.values()))


async def test_statements_of_a_pipeline_are_one_transaction_among_many_clients(pool: Pool) -> None:
    async def transactions() -> set[str]:
        async with pool.connection() as conn:
            async with conn.pipeline():
                asked = [
                    await conn.execute("SELECT pg_current_xact_id()::text AS id, %s::int AS number", (number,), prepare=True)
                    for number in range(3)
                ]
            rows = [await cursor.fetchone() for cursor in asked]
            assert [row and row["number"] for row in rows] == [0, 1, 2]
            return {row["id"] for row in rows if row}

    ids = [await asked for asked in asyncio.as_completed([transactions() for _ in range(300)])]
    assert [len(each) for each in ids] == [1] * 300
    assert len(set.union(*ids)) == 300


async def test_an_end_is_taken_back_with_the_claim_that_failed_after_it(pool: Pool) -> None:
    runs = Runs(pool)
    accepted = await runs.accept(ANNA, Target(assistant_id("steps"), "steps"), RunRequest())
    run = await runs.claim("worker", 60)
    assert run
    with pytest.raises(psycopg.DataError):
        await runs.finish_and_claim(
            run, "success", Claimant("worker", float("inf")), thread_status="idle", values=b"{}", interrupts=None
        )  # no lease lasts for ever: the claim fails, after the end
    assert (await runs.get(ANNA, run.thread_id, accepted.run.run_id)).status == "running"


async def test_a_transaction_has_its_limit_and_leaves_none_behind(pool: Pool) -> None:
    limit = b"SELECT current_setting('idle_in_transaction_session_timeout') AS value"

    async def look() -> tuple[str, str]:
        async with pool.connection() as conn:
            async with conn.transaction():
                within = await (await conn.execute(limit)).fetchone()
            after = await (await conn.execute(limit)).fetchone()
            assert within and after
            return within["value"], after["value"]

    assert set(await asyncio.gather(*(look() for _ in range(50)))) == {("10s", "0")}


async def test_the_store_keeps_to_our_schema_and_leaves_the_sessions_as_they_were(pool: Pool) -> None:
    store = Stores(pool).of(LOCAL)
    await asyncio.gather(*(store.aput(("user", "anna"), f"note {number}", {"number": number}) for number in range(40)))
    found = await store.asearch(("user",), limit=100)
    assert sorted(item.value["number"] for item in found) == list(range(40))
    assert await one(pool, "SELECT count(*) FROM freehold.store_items") == 40
    paths = await asyncio.gather(*(one(pool, "SELECT current_setting('search_path')") for _ in range(30)))
    assert set(paths) == {'"$user", public'}


async def test_nothing_of_ours_lies_in_public(pool: Pool) -> None:
    assert await one(pool, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


@pytest.mark.parametrize("ignored", ["", "options"], ids=["refusing options", "dropping options"])
async def test_migrations_do_not_go_through_it_but_a_database_that_is_up_to_date_needs_none(
    database: Database, postgres: PostgresServer, ignored: str
) -> None:
    pgbouncer = PgBouncer(postgres, {"freehold_owner": "owner-secret"}, ignored=ignored)
    try:
        url = pgbouncer.url(make_database(postgres, database.name).owner_url)
        assert await migrate(url, app_role="freehold_app") == []
        name = f"{database.name}_empty"
        with psycopg.connect(database.superuser_url, autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}" OWNER freehold_owner'.encode())
        with pytest.raises(Incompatible, match="0001_initial") as refused:
            await migrate(make_conninfo(url, dbname=name))
        assert "FREEHOLD_MIGRATION_DATABASE_URL" in str(refused.value.hint)
    finally:
        pgbouncer.remove()


async def test_runs_survive_the_kill_of_their_worker(database_url: str, valkey_url: str, tmp_path: Path) -> None:
    config = f'[agents]\nconfig = "{PROJECT}"\nshipped = false\n[model]\nengine = "none"\n[worker]\nlease_seconds = 2\nconcurrency = 20\n'
    with Processes(tmp_path, database_url, valkey_url, config=config, environ={}) as processes:
        url = processes.start_server()
        doomed = processes.start_worker()
        async with get_client(url=url) as client:
            threads = [(await client.threads.create())["thread_id"] for _ in range(10)]
            asked = {"steps": ["in"], "seconds": 4}
            runs = [await client.runs.create(thread, "steps", input=asked) for thread in threads]
            while {run["status"] for thread in threads for run in await client.runs.list(thread)} != {"running"}:
                await asyncio.sleep(0.05)
            doomed.kill()
            processes.start_worker()
            stopped = runs.pop()
            await client.runs.cancel(stopped["thread_id"], stopped["run_id"], wait=True)
            assert (await client.runs.get(stopped["thread_id"], stopped["run_id"]))["status"] == "interrupted"
            for run in runs:
                assert (await client.runs.join(run["thread_id"], run["run_id"]))["steps"] == ["in", "first", "slow", "last"]
                assert (await client.runs.get(run["thread_id"], run["run_id"]))["status"] == "success"
            again = await client.runs.create(threads[0], "steps", input=asked)
            await client.runs.cancel(threads[0], again["run_id"], wait=True, action="rollback")
            assert (await client.threads.get_state(threads[0]))["values"]["steps"] == ["in", "first", "slow", "last"]
        assert Scrape(url).value("freehold_checkpoint_bytes") > 0


async def test_runs_survive_a_crash_of_the_database_behind_it(valkey_url: str) -> None:
    server = PostgresServer(durable=True).create()
    database = make_database(server, "behind")
    try:
        await provision(server.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=database.reader_url)
        await migrate(database.owner_url, app_role="freehold_app")
        pgbouncer = PgBouncer(server, {"freehold_app": "app-secret"})
        url, client = pgbouncer.url(database.app_url), create_client(valkey_url)
        async with create_pool(url, max_size=20) as pool:
            bench = Bench(url, pool, Runs(pool), Threads(pool), EventLog(client), await load_project(PROJECT, shipped=None))
            async with working(bench.worker(concurrency=10)):
                runs = [await bench.accept("steps", {"steps": [str(number)], "seconds": 2}) for number in range(10)]
                while (await bench.runs.queue()).running < 10:
                    await asyncio.sleep(0.05)
                server.stop(kill=True)
                server.start()
                endings = [outcome(await bench.follow(run)) for run in runs]
        assert [ending["values"]["steps"] for ending in endings] == [[str(number), "first", "slow", "last"] for number in range(10)]
        await client.aclose()
        pgbouncer.remove()
    finally:
        server.remove()
