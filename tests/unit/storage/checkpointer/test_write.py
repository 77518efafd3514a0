"""What a saver gathers before it stores: kept until it is stored, forgotten when that is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from freehold.storage.checkpointer import PostgresSaver
from freehold.storage.pool import Pool, create_pool

CONFIG: RunnableConfig = {"configurable": {"thread_id": "a thread", "checkpoint_ns": ""}}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=2) as pool:
        yield pool


async def put(saver: PostgresSaver) -> RunnableConfig:
    return await saver.aput(CONFIG, empty_checkpoint(), {"source": "loop", "step": 0, "parents": {}}, {})


async def test_whoever_waits_for_what_is_discarded_does_not_wait_for_ever(pool: Pool) -> None:
    saver = PostgresSaver(pool)
    saved = await put(saver)
    waiting = asyncio.create_task(saver.aput_writes(saved, [("channel", "value")], "task"))
    await asyncio.sleep(0)  # handed over, and not stored yet: it waits for the checkpoint that follows
    saver.discard()
    await asyncio.wait({waiting}, timeout=10)
    assert waiting.cancelled()
    stored = await saver.aget_tuple(saved)
    assert stored and not stored.pending_writes


async def test_what_a_deferred_saver_was_given_is_stored_when_it_is_asked_for(pool: Pool) -> None:
    saver = PostgresSaver(pool, deferred=True)
    saved = await put(saver)
    await saver.aput_writes(saved, [("channel", "value")], "task")
    stored = await saver.aget_tuple(saved)
    assert stored and stored.pending_writes == [("task", "channel", "value")]


async def test_what_is_discarded_before_it_was_stored_is_gone(pool: Pool) -> None:
    saver = PostgresSaver(pool, deferred=True)
    await put(saver)
    assert await saver.pending() is not None
    saver.discard()
    assert await saver.pending() is None
    assert await saver.aget_tuple(CONFIG) is None
