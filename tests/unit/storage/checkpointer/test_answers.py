"""What is known of a run's answers to the questions of tasks. How a worker uses it: tests/integration/test_worker.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from freehold.core.caller import Caller
from freehold.core.errors import LeaseLost
from freehold.core.run import Run, RunRequest
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.checkpointer.answers import take_back
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs, Target

ANNA = Caller("acme", "anna")
NO_TASK = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=5) as pool:
        yield pool


async def answering(pool: Pool) -> Run:
    """A run that has been claimed and has stored its answer "yes" and an update on a checkpoint where two tasks ask."""
    runs = Runs(pool)
    await runs.accept(ANNA, Target(UUID(int=1), "agent"), RunRequest())
    run = await runs.claim("w", 10)
    assert run
    where = await create_checkpointer(pool).aput(
        {"configurable": {"thread_id": str(run.thread_id), "checkpoint_ns": ""}}, empty_checkpoint(), {}, {}
    )
    saver = create_checkpointer(pool, run_id=run.run_id, epoch=run.epoch)
    config = {**where, "metadata": {"run_id": str(run.run_id)}}
    for task in ("a", "b"):
        await create_checkpointer(pool).aput_writes(where, [("__interrupt__", [])], task)
    await saver.aput_writes(config, [("steps", "update"), ("__resume__", "yes")], NO_TASK)
    return run


async def kept(pool: Pool, run: Run) -> list[str]:
    """Channels of what is kept of the command."""
    found = await create_checkpointer(pool).aget_tuple({"configurable": {"thread_id": str(run.thread_id)}})
    assert found
    return sorted(channel for task, channel, _ in found.pending_writes or () if task == NO_TASK)


async def test_a_command_whose_answer_nobody_has_used_is_forgotten_whole(pool: Pool) -> None:
    run = await answering(pool)
    assert await take_back(pool, run.thread_id, run.run_id, run.epoch, ["a", "b"]) == frozenset()
    assert await kept(pool, run) == []


async def test_an_answer_is_forgotten_once_a_task_has_stored_what_came_of_it_and_the_update_stays(pool: Pool) -> None:
    run = await answering(pool)
    found = await create_checkpointer(pool).aget_tuple({"configurable": {"thread_id": str(run.thread_id)}})
    assert found
    config = {**found.config, "metadata": {"run_id": str(run.run_id)}}
    await create_checkpointer(pool, run_id=run.run_id, epoch=run.epoch).aput_writes(config, [("__resume__", ["yes"])], "a")
    assert await take_back(pool, run.thread_id, run.run_id, run.epoch, ["a", "b"]) == {"a"}
    assert await kept(pool, run) == ["steps"]


async def test_a_worker_that_lost_the_run_changes_nothing(pool: Pool) -> None:
    run = await answering(pool)
    with pytest.raises(LeaseLost):
        await take_back(pool, run.thread_id, run.run_id, run.epoch + 1, ["a", "b"])
    assert await kept(pool, run) == ["__resume__", "steps"]
