"""The runs of a thread as those who watch it see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.run import Run, RunRequest
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.thread_runs import ThreadRuns
from freehold.storage.threads import Threads

ANNA, BOB = Caller("acme", "anna"), Caller("acme", "bob")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=4) as pool:
        yield pool


@pytest.fixture
async def thread_id(pool: Pool) -> UUID:
    return (await Threads(pool).create(ANNA)).thread_id


async def accept(pool: Pool, thread_id: UUID, **options: float) -> Run:
    return (await Runs(pool).accept(ANNA, Target(UUID(int=1), "agent", thread_id), RunRequest(), **options)).run  # type: ignore[arg-type]


async def finish(pool: Pool) -> Run:
    run = await Runs(pool).claim("worker", 10)
    assert run
    await Runs(pool).finish(run, "success", thread_status="idle", values=None, interrupts=None)
    return run


async def test_runs_are_in_the_order_they_began_and_those_that_wait_come_last(pool: Pool, thread_id: UUID) -> None:
    since = await ThreadRuns(pool).clock()
    late = await accept(pool, thread_id, after_seconds=600)
    first, second = await accept(pool, thread_id), await accept(pool, thread_id)
    await finish(pool)
    await finish(pool)
    found = await ThreadRuns(pool).of_thread(ANNA, thread_id, since=since)
    assert [watched.run.run_id for watched in found] == [first.run_id, second.run_id, late.run_id]
    assert [watched.is_due for watched in found] == [True, True, False]
    assert found[0].run.started_at and found[2].run.started_at is None


async def test_what_ended_before_is_left_out(pool: Pool, thread_id: UUID) -> None:
    await accept(pool, thread_id)
    await finish(pool)
    now = await ThreadRuns(pool).clock()
    waiting = await accept(pool, thread_id)
    found = await ThreadRuns(pool).of_thread(ANNA, thread_id, since=now + timedelta(seconds=1))
    assert [watched.run.run_id for watched in found] == [waiting.run_id]


async def test_the_thread_of_another_is_not_found(pool: Pool, thread_id: UUID) -> None:
    now = await ThreadRuns(pool).clock()
    assert await ThreadRuns(pool).of_thread(ANNA, thread_id, since=now) == []
    for caller, wanted in ((BOB, thread_id), (ANNA, uuid4())):
        with pytest.raises(NotFound):
            await ThreadRuns(pool).of_thread(caller, wanted, since=now)


async def test_news_are_runs_that_are_active_or_were_just_now_and_threads_that_are_gone(pool: Pool, thread_id: UUID) -> None:
    busy, quiet = [(await Threads(pool).create(BOB)).thread_id for _ in range(2)]
    await accept(pool, thread_id)
    await finish(pool)
    await Runs(pool).accept(BOB, Target(UUID(int=1), "agent", busy), RunRequest())
    gone = uuid4()
    asked = [thread_id, busy, quiet, gone]
    assert set(await ThreadRuns(pool).with_news(asked, seconds=60)) == {thread_id, busy, gone}
    assert set(await ThreadRuns(pool).with_news(asked, seconds=0)) == {busy, gone}
