"""Threads whose time to live is over go, or lose their older checkpoints; those that run, and all others, stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.run import RunRequest
from freehold.graphs.project_config import ThreadTtlConfig
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.expiry import Expiry, Swept
from freehold.storage.lifetime import Strategy, TimeToLive
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.threads import Threads
from freehold.worker.expiry import sweep_threads

ANNA = Caller("acme", "anna")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=4) as pool:
        yield pool


async def thread(pool: Pool, strategy: Strategy, *, over: bool = True) -> UUID:
    """A thread with three checkpoints whose time is over, or is not."""
    thread_id = (await Threads(pool).create(ANNA, ttl=TimeToLive(60, strategy))).thread_id
    saver = create_checkpointer(pool)
    config: RunnableConfig = {"configurable": {"thread_id": str(thread_id), "checkpoint_ns": ""}}
    for _ in range(3):
        config = await saver.aput(config, empty_checkpoint(), {}, {})
    if over:
        async with pool.connection() as conn:
            await conn.execute("UPDATE freehold.threads SET expires_at = now() - interval '1 second' WHERE thread_id = %s", (thread_id,))
    return thread_id


async def checkpoints(pool: Pool, thread_id: UUID) -> int:
    async with pool.connection() as conn:
        row = await (
            await conn.execute("SELECT count(*) AS n FROM freehold.thread_checkpoints WHERE thread_id = %s", (str(thread_id),))
        ).fetchone()
    assert row
    return int(row["n"])


async def test_a_thread_goes_with_all_it_has_once_its_time_is_over(pool: Pool) -> None:
    over, later = await thread(pool, "delete"), await thread(pool, "delete", over=False)
    assert await Expiry(pool).sweep(10) == Swept(deleted=1)
    with pytest.raises(NotFound):
        await Threads(pool).get(ANNA, over)
    assert [await checkpoints(pool, over), await checkpoints(pool, later)] == [0, 3]


async def test_a_thread_keeps_its_latest_checkpoint_and_its_time_begins_anew(pool: Pool) -> None:
    over = await thread(pool, "keep_latest")
    assert await Expiry(pool).sweep(10) == Swept(cut=1)
    assert await checkpoints(pool, over) == 1
    now = await Threads(pool).get(ANNA, over)
    assert now.expires_at is not None and now.expires_at > now.created_at
    assert await Expiry(pool).sweep(10) == Swept()


async def test_a_thread_with_a_run_is_left_alone_until_the_run_has_ended(pool: Pool) -> None:
    over = await thread(pool, "delete")
    run = (await Runs(pool).accept(ANNA, Target(uuid4(), "echo", over), RunRequest())).run
    assert await Expiry(pool).sweep(10) == Swept()
    await Runs(pool).cancel(ANNA, over, run.run_id, "interrupt")
    assert await Expiry(pool).sweep(10) == Swept(deleted=1)


async def test_a_worker_sweeps_batch_after_batch(pool: Pool) -> None:
    threads = [await thread(pool, "delete") for _ in range(3)]
    task = asyncio.create_task(sweep_threads(pool, ThreadTtlConfig(sweep_interval_minutes=0.0001, sweep_limit=1)))
    async with asyncio.timeout(30):
        while any([await checkpoints(pool, thread_id) for thread_id in threads]):
            await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_new_time_to_live_counts_from_now(pool: Pool) -> None:
    over = await thread(pool, "delete")
    await Threads(pool).patch(ANNA, over, {}, TimeToLive(5, "keep_latest"))
    assert await Expiry(pool).sweep(10) == Swept()
