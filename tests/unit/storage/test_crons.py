"""Crons as rows: one firing however many look, one for however many were missed, and none that stands in the way of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from freehold.core.caller import Caller
from freehold.core.cron import Cron
from freehold.core.errors import NotFound
from freehold.core.ids import assistant_id, new_id
from freehold.core.run import RunRequest
from freehold.storage.assistants import Assistants
from freehold.storage.crons import CronFilter, Crons
from freehold.storage.lifetime import TimeToLive
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs
from freehold.storage.threads import Threads

ANNA = Caller("acme", "anna")
BERT = Caller("acme", "bert")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=8) as pool:
        await Assistants(pool).sync({"echo": None})
        yield pool


@pytest.fixture
def crons(pool: Pool) -> Crons:
    return Crons(pool, Runs(pool))


def cron(**given: Any) -> Cron:
    """Every minute, due now."""
    now = datetime.now(UTC)
    usual: dict[str, Any] = {
        "cron_id": new_id(),
        "organisation": "",
        "owner": "",
        "shared": False,
        "must": {},
        "assistants": None,
        "assistant_id": assistant_id("echo"),
        "thread_id": None,
        "schedule": "* * * * *",
        "timezone": None,
        "end_time": None,
        "enabled": True,
        "on_run_completed": "delete",
        "multitask_strategy": "enqueue",
        "payload": {},
        "request": asdict(RunRequest(input={"text": "a"})),
        "metadata": {},
        "next_run_date": now - timedelta(seconds=1),
        "last_run_date": None,
        "last_run_id": None,
        "last_error": None,
        "created_at": now,
        "updated_at": now,
    }
    return Cron(**{**usual, **given})


async def runs_of(pool: Pool) -> list[Any]:
    async with pool.connection() as conn:
        return await (await conn.execute("SELECT * FROM freehold.runs ORDER BY queue_position")).fetchall()


async def test_two_that_look_at_once_never_fire_the_same_cron(crons: Crons, pool: Pool) -> None:
    made = {(await crons.create(ANNA, cron())).cron_id for _ in range(20)}

    async def fire_all() -> list[Any]:
        found = []
        while (firing := await crons.fire_next()) is not None:
            found.append(firing.cron.cron_id)
        return found

    fired = [cron_id for each in await asyncio.gather(*(fire_all() for _ in range(5))) for cron_id in each]
    assert sorted(fired) == sorted(made)
    assert len(await runs_of(pool)) == 20


async def test_however_many_dates_were_missed_there_is_one_firing_and_the_next_lies_ahead(crons: Crons, pool: Pool) -> None:
    made = await crons.create(ANNA, cron(next_run_date=datetime.now(UTC) - timedelta(days=3)))
    assert await crons.fire_next() is not None
    assert await crons.fire_next() is None
    (run,) = await runs_of(pool)
    stored = await crons.get(ANNA, made.cron_id)
    assert stored.next_run_date and timedelta(0) < stored.next_run_date - datetime.now(UTC) <= timedelta(minutes=1)
    assert (stored.last_run_id, stored.last_error) == (run["run_id"], None)
    assert run["request"]["metadata"]["cron_run_date"] == (made.next_run_date or datetime.now(UTC)).isoformat()


async def test_a_firing_that_does_not_end_leaves_the_cron_due_and_no_run(crons: Crons, pool: Pool) -> None:
    made = await crons.create(ANNA, cron())

    class Cut(Runs):
        async def accept_within(self, *given: Any, **more: Any) -> Any:
            await super().accept_within(*given, **more)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Crons(pool, Cut(pool)).fire_next()
    assert await runs_of(pool) == []
    assert (await crons.get(ANNA, made.cron_id)).next_run_date == made.next_run_date
    assert await crons.fire_next() is not None
    assert len(await runs_of(pool)) == 1


async def test_the_run_is_of_the_crons_owner_and_told_which_cron_started_it(crons: Crons, pool: Pool) -> None:
    made = await crons.create(BERT, cron(metadata={"by": "bert"}, on_run_completed="keep"))
    await crons.fire_next()
    (run,) = await runs_of(pool)
    assert (run["organisation"], run["owner"]) == ("acme", "bert")
    assert run["request"]["config"]["configurable"] == {"cron_id": str(made.cron_id)}
    assert run["metadata"]["by"] == "bert" and run["metadata"]["cron_id"] == str(made.cron_id)
    thread = await Threads(pool).get(BERT, run["thread_id"])
    assert thread.metadata["cron_id"] == str(made.cron_id) and not thread.temporary


async def test_behind_its_end_nothing_fires_even_if_it_was_due_before(crons: Crons, pool: Pool) -> None:
    now = datetime.now(UTC)
    made = await crons.create(ANNA, cron(next_run_date=now - timedelta(minutes=5), end_time=now - timedelta(minutes=1)))
    firing = await crons.fire_next()
    assert firing is not None and firing.accepted is None
    stored = await crons.get(ANNA, made.cron_id)
    assert stored.next_run_date is None and stored.enabled and "end time" in (stored.last_error or "")
    assert await runs_of(pool) == []


@pytest.mark.parametrize("gone", ["thread", "assistant", "zone"])
async def test_a_cron_that_lacks_what_it_needs_is_disabled_and_says_why(crons: Crons, pool: Pool, gone: str) -> None:
    lacking: dict[str, Any] = {
        "thread": {"thread_id": uuid4(), "on_run_completed": None},
        "assistant": {"assistant_id": uuid4()},
        "zone": {"timezone": "Mars/Olympus"},
    }[gone]
    made = await crons.create(ANNA, replace(cron(), **{key: value for key, value in lacking.items() if key != "thread_id"}))
    if gone == "thread":
        async with pool.connection() as conn:
            await conn.execute("UPDATE freehold.crons SET thread_id = %s WHERE cron_id = %s", [lacking["thread_id"], made.cron_id])
    firing = await crons.fire_next()
    assert firing is not None and firing.accepted is None
    stored = await crons.get(ANNA, made.cron_id)
    assert not stored.enabled and (stored.last_error or "").startswith("disabled: ")
    assert await crons.fire_next() is None and await runs_of(pool) == []


async def test_a_run_that_cannot_be_stored_does_not_keep_other_crons_from_firing(crons: Crons, pool: Pool) -> None:
    broken = await crons.create(ANNA, cron(next_run_date=datetime.now(UTC) - timedelta(hours=1), multitask_strategy="reject"))
    await crons.create(ANNA, cron())

    class Unstorable(Runs):
        async def accept_within(self, conn: Any, *given: Any, **more: Any) -> Any:
            accepted = await super().accept_within(conn, *given, **more)
            if more["strategy"] == "reject":
                await conn.execute("SELECT 1 / 0")
            return accepted

    firings = []
    while (firing := await Crons(pool, Unstorable(pool)).fire_next()) is not None:
        firings.append(firing)
    assert [firing.accepted is None for firing in firings] == [True, False]
    stored = await crons.get(ANNA, broken.cron_id)
    assert stored.enabled and "DivisionByZero" in (stored.last_error or "")
    assert len(await runs_of(pool)) == 1


async def test_a_cron_of_somebody_else_is_neither_seen_changed_nor_deleted(crons: Crons) -> None:
    made = await crons.create(ANNA, cron())
    for attempt in (
        crons.get(BERT, made.cron_id),
        crons.delete(BERT, made.cron_id),
        crons.change(BERT, made.cron_id, lambda found: replace(found, enabled=False)),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await crons.search(BERT, CronFilter()) == ([], 0) and await crons.count(BERT, CronFilter()) == 0
    assert (await crons.get(ANNA, made.cron_id)).enabled


async def test_a_thread_of_somebody_else_takes_no_cron(crons: Crons, pool: Pool) -> None:
    thread = await Threads(pool).create(ANNA)
    with pytest.raises(NotFound):
        await crons.create(BERT, cron(thread_id=thread.thread_id, on_run_completed=None))


async def test_the_time_to_the_next_cron_is_told(crons: Crons) -> None:
    assert await crons.seconds_to_next() is None
    await crons.create(ANNA, cron(next_run_date=datetime.now(UTC) + timedelta(hours=1)))
    await crons.create(ANNA, cron(enabled=False))
    seconds = await crons.seconds_to_next()
    assert seconds is not None and 3500 < seconds <= 3600


async def test_threads_that_firings_make_and_keep_live_as_long_as_the_project_says(pool: Pool) -> None:
    crons = Crons(pool, Runs(pool), lifetime=TimeToLive(30, "delete"))
    for completed in ("keep", "delete"):
        await crons.create(ANNA, cron(on_run_completed=completed, next_run_date=datetime.now(UTC) - timedelta(seconds=1)))
        await crons.fire_next()
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT temporary, ttl_minutes FROM freehold.threads ORDER BY temporary")).fetchall()
    assert [(row["temporary"], row["ttl_minutes"]) for row in rows] == [(False, 30), (True, None)]
