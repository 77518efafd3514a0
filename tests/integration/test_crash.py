"""What survives: worker processes killed and stopped, Postgres and Valkey restarted, in the middle of runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from redis.exceptions import RedisError
from tests.conftest import Database, make_database
from tests.support.events import read
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.core.caller import LOCAL
from freehold.core.errors import StorageUnavailable
from freehold.core.event import END, START, Event
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.events.log import EventLog, create_client
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.migrate import migrate, provision
from freehold.storage.pool import create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.threads import Threads

PROJECT = Path(__file__).parent / "project" / "langgraph.json"

CONFIG = f"""
[agents]
config = "{PROJECT}"
[worker]
lease_seconds = 2
drain_seconds = 2
"""


class Stack:
    """Postgres, Valkey and worker processes of one test, all of which it may kill."""

    def __init__(self, database_url: str, valkey_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.valkey_url = valkey_url
        self.folder = folder
        self.trace = folder / "trace"
        self._exit = AsyncExitStack()
        self._workers: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Stack:
        (self.folder / "freehold.toml").write_text(CONFIG)
        self.pool = await self._exit.enter_async_context(create_pool(self.database_url, max_size=5))
        self.client = create_client(self.valkey_url)
        self._exit.push_async_callback(self.client.aclose)
        self.runs, self.threads, self.events = Runs(self.pool), Threads(self.pool), EventLog(self.client)
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.returncode is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                await worker.wait()
        await self._exit.aclose()

    async def start_worker(self) -> asyncio.subprocess.Process:
        environment = {**os.environ, "DATABASE_URL": self.database_url, "REDIS_URL": self.valkey_url, "PYTHONWARNINGS": "default"}
        with (self.folder / "worker.log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freehold", "worker", cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        self._workers.append(worker)
        return worker

    async def accept(self, graph: str, seconds: float) -> Run:
        request = RunRequest(input={"steps": [], "seconds": seconds, "trace": str(self.trace)}, stream_mode=("values", "custom"))
        accepted = await self.runs.accept(LOCAL, Target(assistant_id(graph), graph), request)
        await self.events.wake_workers()
        return accepted.run

    async def until_marked(self, node: str) -> None:
        async with asyncio.timeout(60):
            while not self.trace.exists() or f" {node}" not in self.trace.read_text():
                await asyncio.sleep(0.02)

    async def until_stored(self, run: Run, step: int) -> None:
        async with asyncio.timeout(60):
            while step not in await self.stored_steps(run):
                await asyncio.sleep(0.02)

    async def follow(self, run: Run) -> list[Event]:
        """Read as a client does that rejoins after every break: from the last id it has seen."""
        seen: list[Event] = []
        async with asyncio.timeout(120):
            while not seen or seen[-1].name != END:
                try:
                    seen += await read(self.events, run.run_id, seen[-1].id if seen else START, block_ms=500)
                except RedisError:
                    await asyncio.sleep(0.1)
        return seen

    def executions(self) -> list[str]:
        return [line.split()[1] for line in self.trace.read_text().splitlines()]

    async def stored_steps(self, run: Run) -> list[int]:
        """Step numbers of the checkpoints a thread has, in order: a step stored twice shows twice."""
        config: RunnableConfig = {"configurable": {"thread_id": str(run.thread_id), "checkpoint_ns": ""}}
        newest_first = [stored async for stored in create_checkpointer(self.pool).alist(config)]
        return [stored.metadata["step"] for stored in reversed(newest_first)]


@pytest.fixture
async def stack(database_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(database_url, valkey_url, tmp_path) as stack:
        yield stack


@asynccontextmanager
async def own_servers(tmp_path: Path) -> AsyncIterator[tuple[Stack, PostgresServer, ValkeyServer]]:
    """A stack on servers of its own, which the test restarts."""
    postgres, valkey = PostgresServer(durable=True), ValkeyServer(persistent=True)
    try:
        postgres.create()
        valkey.start()
        database: Database = make_database(postgres, "crash")
        await provision(postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
        await migrate(database.owner_url, app_role="freehold_app")
        async with Stack(database.app_url, valkey.url, tmp_path) as stack:
            yield stack, postgres, valkey
    finally:
        valkey.remove()
        postgres.remove()


def outcome(events: list[Event]) -> dict[str, Any]:
    return json.loads(events[-1].data)


def ticks_by_attempt(events: list[Event]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for event in events:
        if event.name == "custom":
            found.setdefault(event.id.epoch, []).append(json.loads(event.data)["tick"])
    return found


async def test_a_run_whose_worker_is_killed_goes_on_elsewhere_and_stores_each_step_once(stack: Stack) -> None:
    first = await stack.start_worker()
    run = await stack.accept("steps", seconds=1.5)
    await stack.until_marked("slow")
    await stack.until_stored(run, step=1)  # with durability "async" the step before may still be on its way to the database
    first.kill()
    await stack.start_worker()
    events = await stack.follow(run)
    assert outcome(events)["values"]["steps"] == ["first", "slow", "last"]
    assert stack.executions() == ["first", "slow", "slow", "last"]  # the step that was cut is executed again, no other
    assert await stack.stored_steps(run) == [-1, 0, 1, 2, 3]
    assert [json.loads(event.data)["attempt"] for event in events if event.name == "metadata"] == [1, 2]


async def test_a_worker_stopped_longer_than_its_lease_cannot_write_when_it_wakes(stack: Stack) -> None:
    first = await stack.start_worker()
    run = await stack.accept("steps", seconds=1)
    await stack.until_marked("slow")
    first.send_signal(signal.SIGSTOP)  # often while the step before is being stored, with the run's row locked
    await stack.start_worker()
    events = await stack.follow(run)
    first.send_signal(signal.SIGCONT)
    await asyncio.sleep(2.5)  # long enough for it to end its step and try
    assert outcome(events)["values"]["steps"] == ["first", "slow", "last"]
    assert await stack.stored_steps(run) == [-1, 0, 1, 2, 3]
    assert (await stack.follow(run))[-1] == events[-1]
    thread = await stack.threads.get(LOCAL, run.thread_id)
    assert (thread.status, thread.values) == ("idle", outcome(events)["values"])


async def test_a_run_whose_workers_always_die_ends_as_an_error_that_says_so(stack: Stack) -> None:
    run = await stack.accept("steps", seconds=30)
    for attempt in range(3):
        worker = await stack.start_worker()
        async with asyncio.timeout(60):
            while not stack.trace.exists() or stack.executions().count("slow") <= attempt:
                await asyncio.sleep(0.05)
        worker.kill()
        await worker.wait()
    await stack.start_worker()
    async with asyncio.timeout(30):
        while (progress := await stack.runs.progress(run.run_id)) is None or progress.status in {"pending", "running"}:
            await asyncio.sleep(0.1)
    assert progress.status == "error"
    assert progress.error and "died 3 times" in progress.error["message"]


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "crashed"])
async def test_a_stream_goes_on_while_postgres_restarts(tmp_path: Path, kill: bool) -> None:
    async with own_servers(tmp_path) as (stack, postgres, _):
        await stack.start_worker()
        run = await stack.accept("ticks", seconds=3)
        following = asyncio.create_task(stack.follow(run))
        await stack.until_marked("ticking")
        await asyncio.sleep(0.3)
        postgres.stop(kill=kill)
        await asyncio.sleep(0.5)
        postgres.start()
        events = await following
        assert outcome(events)["values"]["steps"] == ["first", "ticking", "last"]
        assert all(ticks == list(range(60)) for ticks in ticks_by_attempt(events).values())
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert await stack.stored_steps(run) == [-1, 0, 1, 2, 3]


@pytest.mark.slow
async def test_an_outage_longer_than_a_lease_is_no_death_of_a_worker(tmp_path: Path) -> None:
    async with own_servers(tmp_path) as (stack, postgres, _):
        for _ in range(3):
            await stack.start_worker()
        run = await stack.accept("ticks", seconds=12)
        following = asyncio.create_task(stack.follow(run))
        await stack.until_marked("ticking")
        postgres.stop()
        await asyncio.sleep(2 * 2)
        postgres.start()
        assert ticks_by_attempt(await following).keys() == {1}
        progress = await stack.runs.progress(run.run_id)
        assert progress and (progress.status, progress.attempt, progress.epoch) == ("success", 1, 1)


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "crashed"])
async def test_a_stream_goes_on_without_gap_or_duplicate_while_valkey_restarts(tmp_path: Path, kill: bool) -> None:
    async with own_servers(tmp_path) as (stack, _, valkey):
        await stack.start_worker()
        run = await stack.accept("ticks", seconds=3)
        following = asyncio.create_task(stack.follow(run))
        await stack.until_marked("ticking")
        await asyncio.sleep(0.5)
        valkey.stop(kill=kill)
        await asyncio.sleep(0.5)
        valkey.start()
        events = await following
        assert ticks_by_attempt(events) == {1: list(range(60))}
        assert [event.id.seq for event in events] == list(range(1, len(events) + 1))


@pytest.mark.slow
async def test_a_node_that_blocks_for_a_minute_finishes_once(stack: Stack) -> None:
    await stack.start_worker()
    await stack.start_worker()
    run = await stack.accept("blocks", seconds=60)
    events = await stack.follow(run)
    assert outcome(events)["values"]["steps"] == ["first", "blocking", "last"]
    assert stack.executions() == ["first", "blocking", "last"]
    assert await stack.stored_steps(run) == [-1, 0, 1, 2, 3]


async def test_accepting_fails_cleanly_while_postgres_is_away(tmp_path: Path) -> None:
    async with own_servers(tmp_path) as (stack, postgres, _):
        postgres.stop()
        with pytest.raises((StorageUnavailable, psycopg.OperationalError)):
            await stack.accept("steps", seconds=0)
        postgres.start()
        assert (await stack.accept("steps", seconds=0)).status == "pending"
