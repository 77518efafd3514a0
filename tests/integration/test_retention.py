"""What pruning takes and what it must leave: conversations go on, questions stay answerable, no run loses anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from tests.conftest import Database
from tests.support.events import read

from freehold.core.caller import Caller
from freehold.core.event import END
from freehold.core.event import START as FIRST
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.events.log import EventLog, create_client
from freehold.graphs.registry import load_project
from freehold.storage.checkpointer import PostgresSaver, upkeep
from freehold.storage.pool import Pool, create_pool
from freehold.storage.retention import Piece, Policy, Retention
from freehold.storage.runs import Runs, Target
from freehold.storage.store import Stores
from freehold.storage.threads import Threads
from freehold.worker import retention as schedule
from freehold.worker.execute import Needs
from freehold.worker.main import Worker

ANNA = Caller("acme", "anna")
PROJECT = Path(__file__).parent / "project" / "langgraph.json"
MONTH = Policy(timedelta(days=30))
NOW = Policy(timedelta(0))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=10) as pool:
        yield pool


# -- threads of a certain age ----------------------------------------------------------------------------------------


async def thread_of_age(pool: Pool, days: float) -> str:
    """A thread that was made and last used so many days ago."""
    thread = await Threads(pool).create(ANNA)
    await run_sql(
        pool,
        "UPDATE freehold.threads SET created_at = now() - %(age)s, updated_at = now() - %(age)s, state_updated_at = now() - %(age)s"
        " WHERE thread_id = %(thread)s",
        age=timedelta(days=days),
        thread=thread.thread_id,
    )
    return str(thread.thread_id)


async def age(pool: Pool, thread: str, days: float) -> None:
    """Make the checkpoints of a thread so much older: their ids tell when they were made. Its tasks' ids no longer fit them."""
    ticks = int(days * 86400 * 10_000_000)
    async with pool.connection() as conn:
        rows = await (
            await conn.execute("SELECT checkpoint_id FROM freehold.thread_checkpoints WHERE thread_id = %s", (thread,))
        ).fetchall()
        ids = [row["checkpoint_id"] for row in rows]
        older = [_shifted(checkpoint_id, ticks) for checkpoint_id in ids]
        for table, column in (("checkpoints", "checkpoint_id"), ("checkpoints", "parent_id"), ("writes", "checkpoint_id")):
            await conn.execute(
                f"UPDATE freehold.thread_{table} t SET {column} = to_id FROM unnest(%s::text[], %s::text[]) AS shifted (from_id, to_id)"
                f" WHERE t.thread_id = %s AND t.{column} = from_id".encode(),
                (ids, older, thread),
            )
        for old, new in zip(ids, older, strict=True):
            await conn.execute(
                "UPDATE freehold.thread_checkpoints SET metadata = replace(metadata::text, %s, %s)::jsonb WHERE thread_id = %s",
                (old, new, thread),
            )


def _shifted(checkpoint_id: str, ticks: int) -> str:
    time = f"{int(checkpoint_id[:8] + checkpoint_id[9:13] + checkpoint_id[15:18], 16) - ticks:015x}"
    return f"{time[:8]}-{time[8:12]}-6{time[12:]}{checkpoint_id[18:]}"


async def run_sql(pool: Pool, statement: str, **arguments: Any) -> None:
    async with pool.connection() as conn:
        await conn.execute(statement.encode(), arguments or None)


async def count(pool: Pool, table: str, thread: str) -> int:
    async with pool.connection() as conn:
        row = await (await conn.execute(f"SELECT count(*) AS n FROM freehold.{table} WHERE thread_id = %s".encode(), (thread,))).fetchone()
        assert row
        return int(row["n"])


async def prune(pool: Pool, policy: Policy = MONTH, *, dry_run: bool = False) -> list[Piece]:
    """A whole round."""
    retention, pieces = Retention(pool), list[Piece]()
    before = await retention.before(policy)
    while not pieces or pieces[-1].after:
        pieces.append(await retention.prune(policy, before, pieces[-1].after if pieces else None, dry_run=dry_run))
    return pieces


def removed(pieces: list[Piece]) -> upkeep.Removed:
    return sum((piece.removed for piece in pieces), upkeep.Removed())


def on(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread}}


def extend(state: list[str] | None, writes: list[list[str]]) -> list[str]:
    return [*(state or []), *(item for write in writes for item in write)]


def conversation(saver: Any) -> Any:
    async def respond(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"answer {len(state['messages'])} " + "x" * 900)]}

    return StateGraph(MessagesState).add_node(respond).add_edge(START, "respond").compile(checkpointer=saver)


async def talk(pool: Pool, thread: str, turns: int) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for number in range(turns):
        last = await conversation(PostgresSaver(pool)).ainvoke({"messages": [HumanMessage(f"question {number}")]}, on(thread))
    return last


# -- what goes and what stays ----------------------------------------------------------------------------------------


async def test_an_idle_thread_keeps_its_newest_checkpoint_and_goes_on(pool: Pool) -> None:
    thread = await thread_of_age(pool, 40)
    last = await talk(pool, thread, 5)
    await age(pool, thread, 40)
    gone = removed(await prune(pool))
    assert await count(pool, "thread_checkpoints", thread) == 1
    assert (gone.threads, gone.checkpoints, gone.messages) == (1, 14, 0)
    assert (await conversation(PostgresSaver(pool)).aget_state(on(thread))).values == last
    assert len((await talk(pool, thread, 1))["messages"]) == 12


async def test_a_thread_in_use_loses_only_what_is_old(pool: Pool) -> None:
    thread = await thread_of_age(pool, 40)
    await talk(pool, thread, 3)
    await age(pool, thread, 40)
    last = await talk(pool, thread, 2)
    assert removed(await prune(pool)).checkpoints == 9
    assert await count(pool, "thread_checkpoints", thread) == 6
    states = [state async for state in conversation(PostgresSaver(pool)).aget_state_history(on(thread))]
    assert [len(state.values.get("messages", [])) for state in states] == [10, 9, 8, 8, 7, 6]
    assert states[0].values == last
    assert states[-1].parent_config is None


async def test_messages_and_values_only_old_checkpoints_held_go_with_them(pool: Pool) -> None:
    class State(TypedDict):
        document: str

    def build() -> Any:
        graph = StateGraph(State).add_node("a", lambda state: {"document": state["document"][::-1]}).add_edge(START, "a")
        return graph.compile(checkpointer=PostgresSaver(pool))

    thread = await thread_of_age(pool, 40)
    for letters in ("ab", "cd", "ef"):
        last = await build().ainvoke({"document": letters * 5000}, on(thread))
    await age(pool, thread, 40)
    assert await count(pool, "thread_blobs", thread) == 6
    gone = removed(await prune(pool))
    assert gone.blobs == 5
    assert gone.writes > 0
    assert await count(pool, "thread_blobs", thread) == 1
    assert (await build().aget_state(on(thread))).values == last


async def test_an_old_question_can_still_be_answered_in_a_subgraph_too(pool: Pool) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {interrupt('what?')}")]}

    def build() -> Any:
        inner = StateGraph(MessagesState).add_node(ask).add_edge(START, "ask").compile()
        return StateGraph(MessagesState).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=PostgresSaver(pool))

    thread = await thread_of_age(pool, 40)
    await build().ainvoke({"messages": [HumanMessage("first")]}, on(thread))
    await build().ainvoke(Command(resume="once"), on(thread))
    await build().ainvoke({"messages": [HumanMessage("second")]}, on(thread))
    assert removed(await prune(pool, NOW)).checkpoints > 0
    state = await build().aget_state(on(thread), subgraphs=True)
    assert [question.value for question in state.interrupts] == ["what?"]
    answered = await build().ainvoke(Command(resume="twice"), on(thread))
    assert [message.content for message in answered["messages"]] == ["first", "you said once", "second", "you said twice"]


async def test_what_delta_channels_are_rebuilt_from_stays_however_old(pool: Pool) -> None:
    class State(TypedDict):
        items: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=5)]

    def build() -> Any:
        graph = StateGraph(State).add_node("a", lambda state: {"items": [f"n{len(state['items'])}"]}).add_edge(START, "a")
        return graph.compile(checkpointer=PostgresSaver(pool))

    thread = await thread_of_age(pool, 40)
    for number in range(6):
        await build().ainvoke({"items": [f"old {number}"]}, on(thread))
    await age(pool, thread, 40)
    for number in range(2):
        await build().ainvoke({"items": [f"new {number}"]}, on(thread))
    before = [state.values async for state in build().aget_state_history(on(thread))]
    assert removed(await prune(pool)).checkpoints > 0
    after = [state.values async for state in build().aget_state_history(on(thread))]
    assert after[:6] == before[:6]
    assert len(after) < len(before)


async def test_ids_that_do_not_tell_the_time_are_as_old_as_their_thread(pool: Pool) -> None:
    idle, used = await thread_of_age(pool, 40), await thread_of_age(pool, 40)
    for thread in (idle, used):
        await talk(pool, thread, 2)
        await run_sql(
            pool,
            "UPDATE freehold.thread_checkpoints SET checkpoint_id = 'step-' || checkpoint_id, parent_id = 'step-' || parent_id"
            " WHERE thread_id = %(thread)s",
            thread=thread,
        )
    await run_sql(pool, "UPDATE freehold.threads SET state_updated_at = now() WHERE thread_id = %(thread)s", thread=UUID(used))
    await prune(pool)
    assert (await count(pool, "thread_checkpoints", idle), await count(pool, "thread_checkpoints", used)) == (1, 6)


async def test_what_the_stock_saver_kept_of_a_thread_that_went_on_goes_and_other_stock_threads_stay(database: Database, pool: Pool) -> None:
    continued, left = await thread_of_age(pool, 40), await thread_of_age(pool, 40)
    async with AsyncPostgresSaver.from_conn_string(database.superuser_url) as stock:
        await stock.conn.execute("SET search_path TO freehold")
        await stock.setup()
        for thread in (continued, left):
            await conversation(stock).ainvoke({"messages": [HumanMessage("long ago")]}, on(thread))
        await stock.conn.execute("GRANT ALL ON checkpoints, checkpoint_blobs, checkpoint_writes TO freehold_app")
    last = await talk(pool, continued, 2)
    await prune(pool, NOW)
    async with AsyncPostgresSaver.from_conn_string(database.superuser_url) as stock:
        await stock.conn.execute("SET search_path TO freehold")
        assert await stock.aget_tuple(on(continued)) is None
        kept = await stock.aget_tuple(on(left))
        assert kept and len(kept.checkpoint["channel_values"]["messages"]) == 2
    assert (await conversation(PostgresSaver(pool)).aget_state(on(continued))).values == last
    assert len((await talk(pool, left, 1))["messages"]) == 4


async def test_whole_threads_go_with_runs_and_checkpoints_only_where_nothing_happened_since(pool: Pool) -> None:
    policy = Policy(timedelta(days=30), whole_threads=True)
    idle, used = await thread_of_age(pool, 40), await thread_of_age(pool, 20)
    for thread in (idle, used):
        await talk(pool, thread, 1)
        await age(pool, thread, 40)
    gone = removed(await prune(pool, policy))
    assert (gone.threads, gone.checkpoints, gone.messages) == (1, 3, 2)
    assert [await count(pool, table, idle) for table in ("threads", "thread_checkpoints", "thread_writes", "thread_messages")] == [0] * 4
    assert (await count(pool, "threads", used), await count(pool, "thread_checkpoints", used)) == (1, 3)


async def test_a_dry_run_counts_what_a_real_one_removes_and_changes_nothing(pool: Pool) -> None:
    thread = await thread_of_age(pool, 40)
    await talk(pool, thread, 3)
    await age(pool, thread, 40)
    expected = removed(await prune(pool, dry_run=True))
    assert await count(pool, "thread_checkpoints", thread) == 9
    assert removed(await prune(pool)) == expected
    assert removed(await prune(pool)) == upkeep.Removed()


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_a_thread_with_an_active_run_is_left_alone(pool: Pool, status: str) -> None:
    thread = await thread_of_age(pool, 40)
    await talk(pool, thread, 2)
    await age(pool, thread, 40)
    runs = Runs(pool)
    await runs.accept(ANNA, Target(assistant_id("steps"), "steps", thread_id=UUID(thread)), RunRequest())
    if status == "running":
        assert await runs.claim("worker", 60)
    for policy in (MONTH, Policy(timedelta(0), whole_threads=True)):
        pieces = await prune(pool, policy)
        assert removed(pieces) == upkeep.Removed()
    assert await count(pool, "thread_checkpoints", thread) == 6


async def test_a_thread_somebody_holds_is_passed_over_without_waiting(pool: Pool) -> None:
    held, free = await thread_of_age(pool, 40), await thread_of_age(pool, 40)
    for thread in (held, free):
        await talk(pool, thread, 2)
        await age(pool, thread, 40)
    async with Threads(pool).hold(ANNA, UUID(held)):
        pieces = await prune(pool)
    assert sum(piece.busy for piece in pieces) == 1
    assert (await count(pool, "thread_checkpoints", held), await count(pool, "thread_checkpoints", free)) == (6, 1)


async def test_a_round_goes_through_all_threads_in_pieces(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.storage.retention.PAGE", 2)
    monkeypatch.setattr("freehold.storage.retention.MOST_CHECKPOINTS", 4)
    threads = [await thread_of_age(pool, 40) for _ in range(5)]
    for thread in threads:
        await talk(pool, thread, 3)
        await age(pool, thread, 40)
    pieces = await prune(pool)
    assert max(piece.removed.checkpoints for piece in pieces) == 4
    assert removed(pieces).checkpoints == 5 * 8
    assert sum(piece.seen for piece in pieces) == 5
    assert [await count(pool, "thread_checkpoints", thread) for thread in threads] == [1] * 5


async def test_the_newest_checkpoint_id_of_a_moment_lies_between_those_before_and_after(pool: Pool) -> None:
    earlier = str(uuid6())
    moment = datetime.now(UTC)
    await asyncio.sleep(0.001)
    assert earlier < upkeep.first_id_since(moment) < str(uuid6())


# -- the schedule ----------------------------------------------------------------------------------------------------


async def test_workers_share_a_round_and_the_next_one_is_not_due_at_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.storage.retention.PAGE", 2)
    threads = [await thread_of_age(pool, 40) for _ in range(5)]
    for thread in threads:
        await talk(pool, thread, 2)
        await age(pool, thread, 40)
    workers = [Retention(pool) for _ in range(4)]
    seen = 0
    for _ in range(20):
        pieces = await asyncio.gather(*(worker.prune_shared(MONTH) for worker in workers))
        seen += sum(piece.seen for piece in pieces if piece)
    assert seen == 5
    assert [await count(pool, "thread_checkpoints", thread) for thread in threads] == [1] * 5


async def test_nothing_is_asked_of_the_database_unless_a_setting_asks_for_it(pool: Pool) -> None:
    await asyncio.wait_for(schedule.prune_for_ever(Retention(pool), []), 5)


# -- under load ------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """Workers and what tests need around them."""

    database_url: str
    pool: Pool
    events: EventLog
    needs: Needs

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[None]:
        settings: dict[str, Any] = {"concurrency": 10, "lease_seconds": 5, "max_attempts": 3, "drain_seconds": 5, **options}
        worker = Worker(self.needs, database_url=self.database_url, **settings)
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await task

    async def run(self, graph: str, thread: str, graph_input: Any) -> Run:
        target = Target(assistant_id(graph), graph, thread_id=UUID(thread))
        run = (await self.needs.runs.accept(ANNA, target, RunRequest(input=graph_input))).run
        await self.events.wake_workers()
        return run

    async def outcome(self, run: Run) -> dict[str, Any]:
        after = FIRST
        async with asyncio.timeout(60):
            while True:
                for event in await read(self.events, run.run_id, after, block_ms=500):
                    after = event.id
                    if event.name == END:
                        return dict(json.loads(event.data))


@pytest.fixture
async def bench(database_url: str, valkey_url: str, pool: Pool) -> AsyncIterator[Bench]:
    client = create_client(valkey_url)
    graphs = await load_project(PROJECT, shipped=None)
    events = EventLog(client)
    yield Bench(database_url, pool, events, Needs(pool, Runs(pool), events, graphs, Stores(pool), run_seconds=60))
    await client.aclose()


async def test_runs_on_threads_that_are_pruned_all_the_while_end_as_they_would_without(bench: Bench) -> None:
    threads = [await thread_of_age(bench.pool, 40) for _ in range(4)]
    total = upkeep.Removed()
    over = asyncio.Event()

    async def prune_all_the_while() -> None:
        nonlocal total
        while not over.is_set():
            total += removed(await prune(bench.pool, NOW))

    pruning = asyncio.create_task(prune_all_the_while())
    async with bench.working():
        endings: dict[str, list[dict[str, Any]]] = {thread: [] for thread in threads}
        for number in range(5):
            runs = [(thread, await bench.run("talks", thread, {"messages": [("user", f"{number} " + "y" * 900)]})) for thread in threads]
            for thread, run in runs:
                endings[thread].append(await bench.outcome(run))
    over.set()
    await pruning
    await prune(bench.pool, NOW)
    assert total.checkpoints > 0
    for thread in threads:
        assert [ending["status"] for ending in endings[thread]] == ["success"] * 5
        said = [message["content"] for message in endings[thread][-1]["values"]["messages"]]
        assert said == without_pruning(5)
        stored = await PostgresSaver(bench.pool).aget_tuple(on(thread))
        assert stored and [message.content for message in stored.checkpoint["channel_values"]["messages"]] == said
        assert await count(bench.pool, "thread_checkpoints", thread) == 1


def without_pruning(turns: int) -> list[str]:
    """What the graph does, done by hand."""
    said: list[str] = []
    for number in range(turns):
        said += [f"{number} " + "y" * 900, f"heard {len(said) + 1}"]
        said = [*said[1:], said[0]]
    return said


async def test_a_worker_prunes_by_schedule(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "LOOK_SECONDS", 0.05)
    thread = await thread_of_age(bench.pool, 40)
    await talk(bench.pool, thread, 3)
    await age(bench.pool, thread, 40)
    async with bench.working(retention=[MONTH]), asyncio.timeout(30):
        while await count(bench.pool, "thread_checkpoints", thread) > 1:
            await asyncio.sleep(0.05)
