"""Threads, assistants and keys: what callers may see and find."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, InvalidRequest, NotFound
from freehold.core.ids import assistant_id
from freehold.core.run import RunRequest
from freehold.storage.assistants import AssistantFilter, Assistants
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.thread_search import Found, ThreadFilter, ThreadSearch
from freehold.storage.threads import Threads

ANNA, BOB = Caller("acme", "anna"), Caller("acme", "bob")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=5) as pool:
        yield pool


async def test_a_taken_id_is_a_conflict_for_its_owner_and_for_anybody_else(pool: Pool) -> None:
    threads, wanted = Threads(pool), uuid4()
    created = await threads.create(ANNA, thread_id=wanted)
    assert await threads.create(ANNA, thread_id=wanted, if_exists="do_nothing") == created
    for caller, if_exists in ((ANNA, "raise"), (BOB, "raise"), (BOB, "do_nothing")):
        with pytest.raises(Conflict):
            await threads.create(caller, thread_id=wanted, if_exists=if_exists)  # type: ignore[arg-type]


async def test_search_filters_sorts_pages_and_counts(pool: Pool) -> None:
    threads = Threads(pool)
    made = [await threads.create(ANNA, metadata={"kind": "a" if number % 2 else "b", "n": number}) for number in range(5)]
    await threads.create(BOB, metadata={"kind": "a"})
    search = ThreadSearch(pool)
    found = await search.page(ANNA, ThreadFilter(metadata={"kind": "b"}, sort_order="asc", limit=2))
    assert ([thread.metadata["n"] for thread in found.threads], found.total) == ([0, 2], 3)
    found = await search.page(ANNA, ThreadFilter(ids=[made[3].thread_id]))
    assert [thread.metadata["n"] for thread in found.threads] == [3]
    assert await search.page(ANNA, ThreadFilter(status="busy")) == Found([], 0, [])


@pytest.mark.parametrize("column", ["metadata", "created_at; DROP TABLE threads", '"', ""])
async def test_sorting_by_anything_but_a_listed_column_is_refused(pool: Pool, column: str) -> None:
    with pytest.raises(InvalidRequest, match="sort_by"):
        await ThreadSearch(pool).page(ANNA, ThreadFilter(sort_by=column))


async def test_metadata_merges_and_deleting_is_final(pool: Pool) -> None:
    threads = Threads(pool)
    thread = await threads.create(ANNA, metadata={"a": 1, "b": 1})
    assert (await threads.patch(ANNA, thread.thread_id, {"b": 2})).metadata == {"a": 1, "b": 2}
    with pytest.raises(NotFound):
        await threads.patch(BOB, thread.thread_id, {"b": 3})
    await threads.delete(ANNA, thread.thread_id)
    with pytest.raises(NotFound):
        await threads.get(ANNA, thread.thread_id)


async def test_every_graph_has_one_system_assistant_that_everybody_may_use(pool: Pool) -> None:
    assistants = Assistants(pool)
    for _ in range(2):
        await assistants.sync({"agent": "helps", "other": None})
    assert (await assistants.get(BOB, assistant_id("agent"))).description == "helps"
    found, total = await assistants.search(ANNA, AssistantFilter(), loaded=["agent"])
    assert ([item.graph_id for item in found], total) == (["agent"], 1)
    assert await assistants.search(ANNA, AssistantFilter(name="%"), loaded=["agent"]) == ([], 0)


async def test_a_run_asked_for_while_a_thread_is_changed_by_hand_is_accepted_afterwards(pool: Pool) -> None:
    threads = Threads(pool)
    thread_id = (await threads.create(ANNA)).thread_id
    async with threads.hold(ANNA, thread_id) as held:
        accepting = asyncio.create_task(Runs(pool).accept(ANNA, Target(uuid4(), "echo", thread_id), RunRequest()))
        await until_blocked(pool)
        await create_checkpointer(held.pool).aput(latest(thread_id), empty_checkpoint(), {}, {})
        await held.set_state(values=b'{"by": "hand"}', interrupts={}, paused=False)
        assert await create_checkpointer(pool).aget_tuple(latest(thread_id)) is None  # not before all of it is stored
    await accepting
    assert await create_checkpointer(pool).aget_tuple(latest(thread_id)) is not None
    now = await threads.get(ANNA, thread_id)
    assert (now.status, now.values) == ("busy", {"by": "hand"})


async def test_a_change_by_hand_that_fails_leaves_nothing(pool: Pool) -> None:
    threads = Threads(pool)
    before = await threads.create(ANNA)
    with pytest.raises(ZeroDivisionError):
        async with threads.hold(ANNA, before.thread_id) as held:
            await create_checkpointer(held.pool).aput(latest(before.thread_id), empty_checkpoint(), {}, {})
            await held.set_state(values=b'{"by": "hand"}', interrupts={}, paused=False)
            raise ZeroDivisionError
    assert await create_checkpointer(pool).aget_tuple(latest(before.thread_id)) is None
    assert await threads.get(ANNA, before.thread_id) == before


async def test_only_its_owner_changes_a_thread_by_hand_and_not_while_a_run_is_active(pool: Pool) -> None:
    threads = Threads(pool)
    thread_id = (await threads.create(ANNA)).thread_id
    with pytest.raises(NotFound):
        async with threads.hold(BOB, thread_id):
            pass
    await Runs(pool).accept(ANNA, Target(uuid4(), "echo", thread_id), RunRequest())
    with pytest.raises(Conflict, match="busy"):
        async with threads.hold(ANNA, thread_id):
            pass


def latest(thread_id: UUID) -> RunnableConfig:
    return {"configurable": {"thread_id": str(thread_id), "checkpoint_ns": ""}}


async def until_blocked(pool: Pool) -> None:
    """Until a statement in this database waits for another transaction."""
    blocked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30), pool.connection() as conn:
        while await (await conn.execute(blocked)).fetchone() is None:
            await asyncio.sleep(0.01)
