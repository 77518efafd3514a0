"""One run through the worker, on the real Postgres and Valkey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langgraph.types import Command
from tests.support.events import read
from tests.support.servers import ValkeyServer

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, NotFound
from freehold.core.event import END, START, Event, EventId
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.core.sequence import microseconds
from freehold.events.log import EventLog, create_client
from freehold.graphs.registry import GraphRegistry, load_project
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.store import Stores
from freehold.storage.threads import Threads
from freehold.worker import execute, publish
from freehold.worker.execute import Needs, run_config
from freehold.worker.main import Worker

ANNA = Caller("acme", "anna")
PROJECT = Path(__file__).parent / "project" / "langgraph.json"


@dataclass
class Bench:
    """What a test needs around one worker."""

    database_url: str
    pool: Pool
    runs: Runs
    threads: Threads
    events: EventLog
    graphs: GraphRegistry

    def worker(self, **options: Any) -> Worker:
        needs = Needs(
            self.pool,
            self.runs,
            self.events,
            self.graphs,
            Stores(self.pool),
            run_seconds=options.pop("run_seconds", 60),
        )
        settings = {"concurrency": 4, "lease_seconds": 2, "max_attempts": 3, "drain_seconds": 5, **options}
        return Worker(needs, database_url=self.database_url, **settings)

    async def accept(self, graph: str, graph_input: Any, *, thread: UUID | None = None, **options: Any) -> Run:
        request = RunRequest(input=graph_input, stream_mode=options.pop("stream_mode", ("values", "updates", "custom")), **options)
        target = Target(assistant_id(graph), graph, thread_id=thread)
        accepted = await self.runs.accept(ANNA, target, request)
        await self.events.wake_workers()
        return accepted.run

    async def follow(self, run: Run, after: EventId = START) -> list[Event]:
        seen: list[Event] = []
        async with asyncio.timeout(30):
            while not seen or seen[-1].name != END:
                seen += await read(self.events, run.run_id, seen[-1].id if seen else after, block_ms=500)
        return seen


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


@pytest.fixture
async def bench(database_url: str, valkey_url: str) -> AsyncIterator[Bench]:
    client = create_client(valkey_url)
    async with create_pool(database_url, max_size=10) as pool:
        yield Bench(database_url, pool, Runs(pool), Threads(pool), EventLog(client), await load_project(PROJECT, shipped=None))
    await client.aclose()


def outcome(events: list[Event]) -> dict[str, Any]:
    return json.loads(events[-1].data)


async def test_a_run_streams_metadata_then_every_step_then_its_values(bench: Bench) -> None:
    async with working(bench.worker()):
        run = await bench.accept("steps", {"steps": ["in"]})
        events = await bench.follow(run)
    assert [event.name for event in events] == ["metadata", "values", *["updates", "values"] * 3, "end"]
    begun = json.loads(events[0].data)
    assert begun == {"run_id": str(run.run_id), "attempt": 1, "started": begun["started"]}
    assert begun["started"] >= microseconds(run.created_at), "its events are numbered from before it was accepted"
    assert outcome(events) == {"status": "success", "error": None, "interrupts": [], "values": {"steps": ["in", "first", "slow", "last"]}}
    assert [event.id for event in events] == [EventId(1, number) for number in range(1, len(events) + 1)]


async def test_the_end_of_a_run_is_stored_on_run_and_thread(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        run = await bench.accept("steps", {"steps": []}, thread=thread.thread_id)
        assert (await bench.threads.get(ANNA, thread.thread_id)).status == "busy"
        await bench.follow(run)
    assert (await bench.runs.get(ANNA, thread.thread_id, run.run_id)).status == "success"
    stored = await bench.threads.get(ANNA, thread.thread_id)
    assert (stored.status, stored.values) == ("idle", {"steps": ["first", "slow", "last"]})
    assert stored.metadata == {"graph_id": "steps", "assistant_id": str(assistant_id("steps"))}


async def test_a_failing_node_ends_the_run_as_an_error_that_names_it(bench: Bench) -> None:
    async with working(bench.worker()):
        run = await bench.accept("fails", {"steps": []})
        events = await bench.follow(run)
    assert events[-2].name == "error"
    assert json.loads(events[-2].data) == {"error": "ValueError", "message": "this node always fails"}
    assert outcome(events)["status"] == "error"


async def test_an_interrupt_waits_on_the_thread_and_a_command_resumes_it(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        events = await bench.follow(await bench.accept("asks", {"steps": []}, thread=thread.thread_id))
        (waiting,) = outcome(events)["interrupts"]
        assert waiting["value"] == {"question": "go on?"}
        paused = await bench.threads.get(ANNA, thread.thread_id)
        assert paused.status == "interrupted"
        assert [item for items in paused.interrupts.values() for item in items] == [waiting]
        events = await bench.follow(await bench.accept("asks", None, thread=thread.thread_id, command={"resume": "yes"}))
    assert outcome(events)["values"] == {"steps": ["first", "yes", "last"]}
    assert (await bench.threads.get(ANNA, thread.thread_id)).status == "idle"


async def test_runs_of_one_thread_execute_one_after_the_other_in_order(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        accepted = [await bench.accept("steps", {"steps": [str(n)], "seconds": 0.1}, thread=thread.thread_id) for n in range(4)]
        endings = [outcome(await bench.follow(run))["values"]["steps"] for run in accepted]
    assert endings[-1] == [item for n in range(4) for item in (str(n), "first", "slow", "last")]


async def test_a_cancelled_run_stops_and_keeps_its_checkpoints(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        run = await bench.accept("steps", {"steps": [], "seconds": 30}, thread=thread.thread_id)
        while len(await read(bench.events, run.run_id, START, block_ms=200)) < 4:
            pass
        await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "interrupt")
        await bench.events.announce_cancel(run.run_id)
        events = await bench.follow(run)
    assert outcome(events)["status"] == "interrupted"
    assert outcome(events)["values"]["steps"] == ["first"]
    assert (await bench.threads.get(ANNA, thread.thread_id)).status == "interrupted"


async def test_a_graph_that_goes_on_after_it_was_stopped_is_stopped_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "CLEANUP_SECONDS", 0.5)
    thread, trace = await bench.threads.create(ANNA), tmp_path / "trace"
    async with working(bench.worker(lease_seconds=1)):
        run = await bench.accept("shrugs", {"steps": [], "trace": str(trace)}, thread=thread.thread_id)
        while not trace.exists():
            await asyncio.sleep(0.02)
        await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "interrupt")
        await bench.events.announce_cancel(run.run_id)
        assert outcome(await bench.follow(run))["status"] == "interrupted"


async def test_more_threads_of_stateless_runs_than_go_at_a_time_are_removed_without_waiting_for_the_next_sweep(bench: Bench) -> None:
    async with bench.pool.connection() as conn:
        await conn.execute(
            "INSERT INTO freehold.threads (thread_id, organisation, owner, temporary, created_at, updated_at)"
            " SELECT gen_random_uuid(), 'acme', 'anna', true, now() - interval '1 h', now() - interval '1 h' FROM generate_series(1, 2600)"
        )
        async with working(bench.worker(lease_seconds=4)):  # a sweep takes 20 s
            async with asyncio.timeout(15):
                while (await (await conn.execute("SELECT FROM freehold.threads LIMIT 1")).fetchone()) is not None:
                    await asyncio.sleep(0.1)


async def test_while_valkey_is_away_no_more_ended_runs_wait_for_it_than_a_worker_has_room_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "CLOSE_SECONDS", 5.0)
    valkey = ValkeyServer()
    client = create_client(valkey.start().url)
    try:
        away = replace(bench, events=EventLog(client))
        await asyncio.to_thread(valkey.stop)
        for _ in range(16):
            await bench.accept("steps", {"steps": [], "seconds": 0.3})
        most = 0
        async with asyncio.timeout(30), working(away.worker(concurrency=2, drain_seconds=6)) as worker, bench.pool.connection() as conn:
            while (await (await conn.execute("SELECT FROM freehold.runs WHERE status <> 'success' LIMIT 1")).fetchone()) is not None:
                most = max(most, len(worker._executions))
                await asyncio.sleep(0.01)
        assert 2 < most <= 6 + 2  # two of which are on their way out
    finally:
        await client.aclose()
        valkey.remove()


async def test_a_rolled_back_run_leaves_nothing(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        await bench.follow(await bench.accept("steps", {"steps": ["kept"]}, thread=thread.thread_id))
        run = await bench.accept("steps", {"steps": ["dropped"], "seconds": 30}, thread=thread.thread_id)
        while len(await read(bench.events, run.run_id, START, block_ms=200)) < 4:
            pass
        await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "rollback")
        await bench.events.announce_cancel(run.run_id)
        await bench.follow(run)
        again = outcome(await bench.follow(await bench.accept("steps", {"steps": ["new"]}, thread=thread.thread_id)))
    assert again["values"]["steps"] == ["kept", "first", "slow", "last", "new", "first", "slow", "last"]
    with pytest.raises(NotFound):
        await bench.runs.get(ANNA, thread.thread_id, run.run_id)


async def test_reject_refuses_a_busy_thread(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    await bench.accept("steps", {"steps": []}, thread=thread.thread_id)
    with pytest.raises(Conflict, match="already running"):
        await bench.runs.accept(ANNA, Target(assistant_id("steps"), "steps", thread_id=thread.thread_id), RunRequest(), strategy="reject")


async def test_another_owner_cannot_start_read_or_stop_runs_of_a_thread(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    run = await bench.accept("steps", {"steps": []}, thread=thread.thread_id)
    for stranger in (Caller("acme", "bob"), Caller("other", "anna")):
        target = Target(assistant_id("steps"), "steps", thread_id=thread.thread_id)
        for attempt in (
            bench.runs.accept(stranger, target, RunRequest()),
            bench.runs.accept(stranger, Target(target.assistant_id, "steps", target.thread_id, create_thread=True), RunRequest()),
            bench.runs.get(stranger, thread.thread_id, run.run_id),
            bench.runs.cancel(stranger, thread.thread_id, run.run_id, "interrupt"),
            bench.threads.get(stranger, thread.thread_id),
            bench.threads.delete(stranger, thread.thread_id),
        ):
            with pytest.raises(NotFound):
                await attempt
        assert await bench.runs.list(stranger, thread.thread_id) == []


async def test_a_draining_worker_gives_the_run_back_and_another_goes_on(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    first = bench.worker()
    task = asyncio.create_task(first.run())
    run = await bench.accept("steps", {"steps": [], "seconds": 1, "trace": str(trace)})
    while len(await read(bench.events, run.run_id, START, block_ms=200)) < 4:
        pass
    first.stop()
    await task
    async with working(bench.worker()):
        events = await bench.follow(run)
    assert outcome(events)["values"]["steps"] == ["first", "slow", "last"]
    assert sorted(line.split()[1] for line in trace.read_text().splitlines()) == ["first", "last", "slow"]
    assert [json.loads(event.data)["attempt"] for event in events if event.name == "metadata"] == [1, 1]


async def test_a_node_that_blocks_longer_than_the_lease_runs_once(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with working(bench.worker()):
        run = await bench.accept("blocks", {"steps": [], "seconds": 5, "trace": str(trace)})
        events = await bench.follow(run)
    assert outcome(events)["status"] == "success"
    assert [line.split()[1] for line in trace.read_text().splitlines()] == ["first", "blocking", "last"]


async def test_an_interrupt_may_ask_with_anything_a_graph_may_hold(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        events = await bench.follow(await bench.accept("asks_richly", {"steps": []}, thread=thread.thread_id))
    (waiting,) = outcome(events)["interrupts"]
    assert (waiting["value"]["when"], waiting["value"]["price"]) == ("2030-01-01T00:00:00+00:00", "1.5")
    assert waiting["value"]["message"]["content"] == "nulhere"
    assert (await bench.threads.get(ANNA, thread.thread_id)).status == "interrupted"


async def test_a_result_that_cannot_be_stored_ends_the_run_at_once_with_the_reason(bench: Bench) -> None:
    async with working(bench.worker()):
        events = await bench.follow(await bench.accept("unstorable", {"steps": []}, stream_mode=("custom",)))
    assert outcome(events)["status"] == "error"
    assert [event.id.epoch for event in events] == [1] * len(events)


async def test_a_run_cancelled_while_nobody_held_it_is_not_executed(bench: Bench, tmp_path: Path) -> None:
    thread, trace = await bench.threads.create(ANNA), tmp_path / "trace"
    run = await bench.accept("steps", {"steps": [], "trace": str(trace)}, thread=thread.thread_id)
    claimed = await bench.runs.claim("about to die", 10)
    assert claimed
    await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "interrupt")
    assert await bench.runs.release(claimed)
    async with working(bench.worker()):
        events = await bench.follow(run)
    assert outcome(events)["status"] == "interrupted"
    assert not trace.exists()


@pytest.mark.parametrize("breakpoints", [{"interrupt_before": ("slow",)}, {"interrupt_after": ("first",)}], ids=["before", "after"])
async def test_a_crash_at_a_breakpoint_does_not_carry_the_run_past_it(bench: Bench, tmp_path: Path, breakpoints: dict[str, Any]) -> None:
    trace = tmp_path / "trace"
    run = await bench.accept("steps", {"steps": [], "trace": str(trace)}, **breakpoints)
    claimed = await bench.runs.claim("about to die", 10)
    assert claimed
    saver = create_checkpointer(bench.pool, run_id=claimed.run_id, epoch=claimed.epoch)
    async with bench.graphs.open("steps", {}) as bare:  # its whole execution, but for the end
        graph = bare.copy(update={"checkpointer": saver})
        await graph.ainvoke(claimed.request.input, run_config(claimed, "steps"), **{k: list(v) for k, v in breakpoints.items()})
    assert await bench.runs.postpone(claimed, 0)
    async with working(bench.worker()):
        events = await bench.follow(run)
    assert outcome(events)["values"]["steps"] == ["first"]
    assert [line.split()[1] for line in trace.read_text().splitlines()] == ["first"]


@pytest.mark.parametrize("graph", ["asks_twice", "asks_twice_within"])
@pytest.mark.parametrize("named", [False, True], ids=["plain", "by id"])
async def test_an_answer_is_given_once_although_its_worker_died_before_the_end(bench: Bench, graph: str, named: bool) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        (asked,) = outcome(await bench.follow(await bench.accept(graph, {"steps": []}, thread=thread.thread_id)))["interrupts"]
    answer = {asked["id"]: "one"} if named else "one"
    run = await bench.accept(graph, None, thread=thread.thread_id, command={"resume": answer})
    claimed = await bench.runs.claim("about to die", 10)
    assert claimed
    saver = create_checkpointer(bench.pool, run_id=claimed.run_id, epoch=claimed.epoch)
    async with bench.graphs.open(graph, {}) as bare:  # its whole execution, but for the end
        await bare.copy(update={"checkpointer": saver}).ainvoke(Command(resume=answer), run_config(claimed, graph))
    assert await bench.runs.postpone(claimed, 0)
    async with working(bench.worker()):
        assert [item["value"] for item in outcome(await bench.follow(run))["interrupts"]] == ["second question"]
        events = await bench.follow(await bench.accept(graph, None, thread=thread.thread_id, command={"resume": "two"}))
    assert outcome(events)["values"]["steps"] == ["one", "two"]


async def test_an_update_given_with_an_answer_counts_once_although_its_worker_died_before_the_end(bench: Bench) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker()):
        await bench.follow(await bench.accept("asks_twice", {"steps": ["in"]}, thread=thread.thread_id))
    command = {"resume": "one", "update": {"steps": ["update"]}}
    run = await bench.accept("asks_twice", None, thread=thread.thread_id, command=command)
    claimed = await bench.runs.claim("about to die", 10)
    assert claimed
    saver = create_checkpointer(bench.pool, run_id=claimed.run_id, epoch=claimed.epoch)
    async with bench.graphs.open("asks_twice", {}) as bare:  # its whole execution, but for the end
        await bare.copy(update={"checkpointer": saver}).ainvoke(Command(**command), run_config(claimed, "asks_twice"))
    assert await bench.runs.postpone(claimed, 0)
    async with working(bench.worker()):
        assert [item["value"] for item in outcome(await bench.follow(run))["interrupts"]] == ["second question"]
        events = await bench.follow(await bench.accept("asks_twice", None, thread=thread.thread_id, command={"resume": "two"}))
    assert outcome(events)["values"]["steps"] == ["in", "update", "one", "two"]


@pytest.mark.parametrize(
    ("graph", "command", "steps"),
    [
        ("steps", {"update": {"steps": ["update"]}, "goto": "slow"}, ["first", "slow", "last", "update", "slow", "last"]),
        ("asks_then_sleeps", {"resume": "yes", "update": {"steps": ["update"], "seconds": 0}}, ["update", "yes"]),
    ],
    ids=["goto", "answer"],
)
async def test_a_command_counts_once_although_its_worker_died_in_its_first_step(
    bench: Bench, tmp_path: Path, graph: str, command: dict[str, Any], steps: list[str]
) -> None:
    thread, trace = await bench.threads.create(ANNA), tmp_path / "trace"
    async with working(bench.worker()):
        await bench.follow(await bench.accept(graph, {"steps": [], "trace": str(trace)}, thread=thread.thread_id))
    before = len(trace.read_text().splitlines()) if trace.exists() else 0
    run = await bench.accept(graph, None, thread=thread.thread_id, command=command)
    claimed = await bench.runs.claim("about to die", 10)
    assert claimed
    saver = create_checkpointer(bench.pool, run_id=claimed.run_id, epoch=claimed.epoch)
    async with bench.graphs.open(graph, {}) as bare:
        slowly = Command(**{**command, "update": {**command["update"], "seconds": 60}})
        dying = bare.copy(update={"checkpointer": saver}).ainvoke(slowly, run_config(claimed, graph))
        task = asyncio.create_task(dying)
        while not trace.exists() or len(trace.read_text().splitlines()) == before:
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert str(claimed.run_id) in {row["run_id"] for row in await stored_by(bench, thread.thread_id)}
    assert await bench.runs.postpone(claimed, 0)
    async with working(bench.worker()):
        events = await bench.follow(run)
    assert outcome(events)["values"]["steps"] == steps


@pytest.mark.parametrize(("graph", "status"), [("fails", "error"), ("steps", "timeout")])
async def test_a_thread_shows_what_a_run_that_was_cut_off_has_stored(bench: Bench, graph: str, status: str) -> None:
    thread = await bench.threads.create(ANNA)
    async with working(bench.worker(run_seconds=2)):
        events = await bench.follow(await bench.accept(graph, {"steps": ["in"], "seconds": 60}, thread=thread.thread_id))
    assert outcome(events)["status"] == status
    stored = await bench.threads.get(ANNA, thread.thread_id)
    assert stored.status == "error"
    assert stored.values and stored.values["steps"] == ["in", "first"]


async def test_a_run_stopped_while_it_answers_leaves_the_question_open(bench: Bench, tmp_path: Path) -> None:
    thread, trace = await bench.threads.create(ANNA), tmp_path / "trace"
    async with working(bench.worker()):
        await bench.follow(await bench.accept("asks_then_sleeps", {"steps": [], "trace": str(trace)}, thread=thread.thread_id))
        asked = (await bench.threads.get(ANNA, thread.thread_id)).interrupts
        run = await bench.accept("asks_then_sleeps", None, thread=thread.thread_id, command={"resume": "long"})
        while not trace.exists():
            await asyncio.sleep(0.02)
        await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "interrupt")
        await bench.events.announce_cancel(run.run_id)
        assert outcome(await bench.follow(run))["status"] == "interrupted"
    stored = await bench.threads.get(ANNA, thread.thread_id)
    assert (stored.status, stored.interrupts) == ("interrupted", asked)


async def test_a_rolled_back_answer_can_be_given_again(bench: Bench, tmp_path: Path) -> None:
    thread, trace = await bench.threads.create(ANNA), tmp_path / "trace"
    async with working(bench.worker()):
        await bench.follow(await bench.accept("asks_then_sleeps", {"steps": [], "trace": str(trace)}, thread=thread.thread_id))
        before = await stored_by(bench, thread.thread_id)
        run = await bench.accept("asks_then_sleeps", None, thread=thread.thread_id, command={"resume": "wrong"})
        while not trace.exists():
            await asyncio.sleep(0.02)
        while (during := await stored_by(bench, thread.thread_id)) == before:
            await asyncio.sleep(0.02)
        assert str(run.run_id) in {row["run_id"] for row in during}
        await bench.runs.cancel(ANNA, thread.thread_id, run.run_id, "rollback")
        await bench.events.announce_cancel(run.run_id)
        await bench.follow(run)
    assert await stored_by(bench, thread.thread_id) == before


async def stored_by(bench: Bench, thread_id: UUID) -> list[dict[str, Any]]:
    """Writes kept for a thread and the runs that made them."""
    statement = "SELECT checkpoint_id, task_id, idx, run_id FROM freehold.thread_writes WHERE thread_id = %s ORDER BY 1, 2, 3"
    async with bench.pool.connection() as conn:
        return await (await conn.execute(statement, (str(thread_id),))).fetchall()


async def test_what_a_graph_puts_into_the_store_is_there_in_the_next_thread(bench: Bench) -> None:
    async with working(bench.worker()):
        endings = [outcome(await bench.follow(await bench.accept("remembers", {"steps": []}))) for _ in range(2)]
    assert [ending["values"]["steps"] for ending in endings] == [["seen 1 times"], ["seen 2 times"]]


async def test_a_run_that_takes_too_long_ends_as_a_timeout(bench: Bench) -> None:
    async with working(bench.worker(run_seconds=0.3)):
        events = await bench.follow(await bench.accept("steps", {"steps": [], "seconds": 30}))
    assert outcome(events)["status"] == "timeout"
    assert "limits.run_seconds" in outcome(events)["error"]["message"]


async def test_a_worker_that_was_given_its_own_run_again_renews_it_and_stops_the_older_execution(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with working(bench.worker(lease_seconds=1)):
        run = await bench.accept("turns", {"steps": [], "seconds": 2.5, "trace": str(trace)})
        while not trace.exists():
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.5)
        async with bench.pool.connection() as conn:  # what its reaper does when the machine wakes after a longer sleep
            await conn.execute("UPDATE freehold.runs SET status = 'pending', worker = NULL, lease_until = NULL")
        await bench.events.wake_workers()
        assert outcome(await bench.follow(run))["status"] == "success"
    assert [line.split()[1] for line in trace.read_text().splitlines()] == ["begin", "end"] * 2
    assert (await bench.runs.get(ANNA, run.thread_id, run.run_id)).epoch == 2
