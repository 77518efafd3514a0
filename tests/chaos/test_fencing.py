"""A worker that stores a step after it lost its run: harmless as built, and seen by the checker where fencing is taken away.

The write is caught on its way by a gate in the test's own database: `fence` is replaced by one that first does what it is
there for (or, unfenced, nothing) and then waits for a lock that is given to the first claim of a run only by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.arena import LEASE_SECONDS, Arena
from tests.chaos.checker import check
from tests.chaos.harness import Seed
from tests.chaos.scenario import ThreadPlan, request

_GATE = 4711

GATED = """
CREATE OR REPLACE FUNCTION fence(run uuid, claimed integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  {fencing}
  IF claimed = 1 THEN PERFORM pg_advisory_xact_lock_shared({gate}); END IF;
END $$
"""


async def put_gate(arena: Arena, *, fenced: bool) -> None:
    """Replace `fence`; fenced, it calls the proper one first."""
    async with arena.admin() as conn:
        if fenced:
            row = await (await conn.execute("SELECT pg_get_functiondef('fence(uuid, integer)'::regprocedure) AS definition")).fetchone()
            assert row
            await conn.execute(row["definition"].replace(".fence(", ".proper_fence(", 1).encode())
        fencing = "PERFORM freehold.proper_fence(run, claimed);" if fenced else ""
        await conn.execute(GATED.format(fencing=fencing, gate=_GATE).encode())


@asynccontextmanager
async def gate_closed(arena: Arena) -> AsyncIterator[None]:
    """While open, no first claim of a run stores anything."""
    async with arena.admin() as conn, conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (_GATE,))
        yield


async def until_a_write_waits(arena: Arena) -> None:
    waiting = "SELECT count(*) AS waiting FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with arena.admin() as conn, asyncio.timeout(30):
        while not (row := await (await conn.execute(waiting)).fetchone()) or not row["waiting"]:
            await asyncio.sleep(0.02)


async def stop_a_worker_in_the_middle_of_a_write(seed: Seed) -> None:
    """The one that holds the run stops while a step of it is on its way into the database, and wakes when another has taken over."""
    seed.begin(1)
    (thread,) = seed.threads
    async with asyncio.timeout(30):
        while not thread.runs or not await seed.arena.saver.aget_tuple(thread.config):
            await asyncio.sleep(0.02)
    async with gate_closed(seed.arena):
        await until_a_write_waits(seed.arena)
        worker = await seed.arena.holder(thread.runs[0].run_id)
        assert worker
        await seed.hit("pause", worker)
        # Until another worker has it: at once when the lease is over, or when the database ends the fenced transaction.
        async with asyncio.timeout(LEASE_SECONDS + 20):
            while (progress := await seed.arena.runs.progress(thread.runs[0].run_id)) is None or progress.epoch < 2:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)
    worker.wake()


async def broken_promises(folder: Path, *, fenced: bool) -> set[str]:
    async with Arena(folder) as arena:
        await put_gate(arena, fenced=fenced)
        seed = Seed(arena, 1)
        plan = ThreadPlan("chain", (request("async", seconds=0.8),), seconds=4)
        history = await seed.play([plan], stop_a_worker_in_the_middle_of_a_write)
        return {violation.promise for violation in check(history)}


@pytest.mark.slow
async def test_a_stopped_worker_that_wakes_in_the_middle_of_a_write_breaks_no_promise(tmp_path: Path) -> None:
    assert await broken_promises(tmp_path, fenced=True) == set()


async def test_without_fencing_the_checker_finds_what_the_worker_that_wakes_has_done(tmp_path: Path) -> None:
    found = await broken_promises(tmp_path, fenced=False)
    assert {"each superstep is stored once", "a checkpoint has one successor"} <= found
