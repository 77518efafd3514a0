"""Crons fire exactly once: real worker processes, some of which are killed while they fire."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.support.processes import Processes

from freehold.core.caller import LOCAL
from freehold.core.ids import assistant_id
from freehold.storage.crons import Crons
from freehold.storage.pool import create_pool
from freehold.storage.runs import Runs

PROJECT = Path(__file__).parent / "project" / "langgraph.json"
CONFIG = f"""
[agents]
config = "{PROJECT}"
[worker]
lease_seconds = 2
"""

#: Fires a cron up to the moment before its transaction is committed, says so, and waits to be killed.
HALF_A_FIRING = """
import asyncio, sys
from freehold.storage.crons import Crons
from freehold.storage.pool import create_pool
from freehold.storage.runs import Runs

class Stalls(Runs):
    async def accept_within(self, *given, **more):
        accepted = await super().accept_within(*given, **more)
        print(accepted.run.run_id, flush=True)
        await asyncio.sleep(600)

async def main():
    async with create_pool(sys.argv[1], max_size=2) as pool:
        await Crons(pool, Stalls(pool)).fire_next()

asyncio.run(main())
"""


async def make_cron(url: str, schedule: str, *, graph: str = "steps") -> UUID:
    """A cron of the local user, due now."""
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row, autocommit=True) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO freehold.crons (cron_id, organisation, owner, assistant_id, schedule, multitask_strategy, on_run_completed,"
                " payload, request, next_run_date) VALUES (gen_random_uuid(), 'local', 'local', %s, %s, 'enqueue', 'keep', '{}',"
                """ '{"input": {"steps": []}}', date_trunc('second', now())) RETURNING cron_id""",
                [assistant_id(graph), schedule],
            )
        ).fetchone()
    assert row is not None
    return UUID(str(row["cron_id"]))


async def runs_of(url: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as conn:
        return await (await conn.execute("SELECT run_id, status, metadata FROM freehold.runs")).fetchall()


async def test_a_worker_that_is_killed_in_the_middle_of_a_firing_leaves_it_to_another_one(database_url: str, tmp_path: Path) -> None:
    async with create_pool(database_url, max_size=2) as pool:
        crons = Crons(pool, Runs(pool))
        async with pool.connection() as conn:
            await conn.execute(
                "INSERT INTO freehold.assistants (assistant_id, graph_id, name) VALUES (%s, 'steps', 'steps')", [assistant_id("steps")]
            )
        made = await make_cron(database_url, "0 0 1 1 *")
        killed = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HALF_A_FIRING, database_url, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        assert killed.stdout and (accepted := (await killed.stdout.readline()).decode().strip())
        assert await crons.fire_next() is None  # it is held
        killed.kill()
        await killed.wait()
        async with asyncio.timeout(30):
            while (firing := await crons.fire_next()) is None:
                await asyncio.sleep(0.05)
        assert firing.cron.cron_id == made and firing.accepted
        assert await crons.fire_next() is None
    (run,) = await runs_of(database_url)
    assert run["run_id"] == firing.accepted.run.run_id != UUID(accepted)
    assert firing.accepted.run.owner == LOCAL.owner


@pytest.mark.slow
async def test_with_two_workers_of_which_one_is_killed_again_and_again_every_date_fires_once(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    rng = random.Random(4)
    with Processes(tmp_path, database_url, valkey_url, config=CONFIG, environ={}) as processes:
        first, _ = processes.start_worker(), processes.start_worker()
        made = [await make_cron(database_url, "* * * * * *") for _ in range(5)]
        for _ in range(3):
            await asyncio.sleep(2 + rng.random())
            first.kill()
            first.wait()
            first = processes.start_worker()
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            await conn.execute("UPDATE freehold.crons SET enabled = false")
        async with asyncio.timeout(60):
            runs = await runs_of(database_url)
            while any(run["status"] in {"pending", "running"} for run in runs):
                await asyncio.sleep(0.2)
                runs = await runs_of(database_url)
    fired = Counter((run["metadata"]["cron_id"], run["metadata"]["cron_run_date"]) for run in runs)
    assert {cron_id for cron_id, _ in fired} == {str(cron_id) for cron_id in made}
    assert set(fired.values()) == {1}
    assert {run["status"] for run in runs} == {"success"}
    assert min(Counter(cron_id for cron_id, _ in fired).values()) > 5
