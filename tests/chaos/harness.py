"""One seed of chaos: runs are accepted and followed while faults happen, then everything is read back as a history.

Where a fault is aimed at the moment between a run's last checkpoint and its end, the harness holds the lock of the run's
thread, which the end has to wait for; nothing in the engine knows of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Literal
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from redis.exceptions import RedisError

from freehold.core.caller import LOCAL
from freehold.core.event import END, START, Event, EventId
from freehold.core.ids import assistant_id, new_id
from freehold.core.run import TERMINAL, Run
from freehold.storage.runs import Target
from tests.chaos.arena import AWAY, LEASE_SECONDS, Arena, WorkerProcess
from tests.chaos.history import History, RunRecord, SeenEvent, StoredCheckpoint, ThreadRecord
from tests.chaos.scenario import ThreadPlan, Undisturbed, draw_all, graphs, undisturbed

#: How soon a run goes on once the last fault is lifted, beyond what it takes undisturbed.
RECOVERY_SECONDS = 15.0

#: Until a run that was aimed at reaches its end; then the fault comes where the run is.
AIM_SECONDS = 12.0

Phase = Literal["held nothing", "before the first checkpoint", "in a step", "between the last checkpoint and the end", "unknown"]
BEFORE_THE_END: Phase = "between the last checkpoint and the end"


@dataclass(frozen=True)
class Hit:
    """A worker that was killed or stopped, when (seconds after the seed began), and what the runs it held were about."""

    fault: str
    seconds: float
    phases: tuple[Phase, ...]


@dataclass
class Thread:
    """A plan being executed."""

    plan: ThreadPlan
    expected: Undisturbed
    thread_id: UUID = field(default_factory=new_id)
    runs: list[Run] = field(default_factory=list)
    accepted_at: dict[UUID, float] = field(default_factory=dict)
    seen: dict[UUID, list[Event]] = field(default_factory=dict)

    @property
    def config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": str(self.thread_id), "checkpoint_ns": ""}}


class Seed:
    """Executes one seed in an arena."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self.arena = arena
        self.random = Random(seed)
        self.hits: list[Hit] = []
        self.faults: list[str] = []
        #: Runs whose `end` record nobody got to read: it was lost with a worker or with Valkey.
        self.ends_lost = 0
        self._began_at = time.time()
        self._first_started: dict[UUID, float] = {}
        self.threads: list[Thread] = []
        self._waiting: list[Thread] = []

    async def play(self, plans: list[ThreadPlan], disturb: Callable[[Seed], Awaitable[None]]) -> History:
        """Accept and follow the runs, disturb them, wait until all is quiet, and give what happened."""
        self._waiting = [Thread(plan, await undisturbed(plan)) for plan in plans]
        watching = asyncio.create_task(self._watch_starts())
        try:
            async with asyncio.timeout(150), asyncio.TaskGroup() as group:
                self._group = group
                await disturb(self)
                self.begin(len(self._waiting))
                await self.arena.replace_workers()
                free_at = time.time()
        finally:
            watching.cancel()
        await asyncio.sleep(0.5)  # what a stale worker still has to say
        return await self._history(free_at)

    def begin(self, count: int) -> None:
        """Start with the next threads of the plan."""
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        self.threads += now
        for thread in now:
            self._group.create_task(self._drive(thread))

    # -- clients -------------------------------------------------------------------------------------------------

    async def _drive(self, thread: Thread) -> None:
        following = []
        for place in range(len(thread.plan.requests)):
            run = await self._accept(thread, place)
            thread.runs.append(run)
            thread.accepted_at[run.run_id] = time.time()
            task = asyncio.create_task(self._follow(thread, run))
            following.append(task)
            if not thread.plan.at_once:
                await task
        await asyncio.gather(*following)

    async def _accept(self, thread: Thread, place: int) -> Run:
        """Accept once, also where the answer of the first try was lost."""
        known = {run.run_id for run in thread.runs}
        target = Target(assistant_id(thread.plan.graph), thread.plan.graph, thread.thread_id, create_thread=True)

        async def attempt() -> Run:
            for run in await self.arena.runs.list(LOCAL, thread.thread_id):
                if run.run_id not in known:
                    return run
            return (await self.arena.runs.accept(LOCAL, target, thread.plan.requests[place])).run

        run = await self.arena.patiently(attempt)
        with suppress(RedisError):
            await self.arena.events.wake_workers()
        return run

    async def _follow(self, thread: Thread, run: Run) -> None:
        """Read as a client that rejoins at the last id it has seen; silence is the moment to ask Postgres."""
        seen = thread.seen.setdefault(run.run_id, [])
        losses, silences = self.arena.valkey_losses, 0
        while not seen or seen[-1].name != END:
            batch = await self._read(run, _last_id(seen))
            for event in batch:
                if self.arena.valkey_losses > losses and _hole(_last_id(seen), event.id):
                    seen.append(Event(_last_id(seen), "gap", b"{}"))
                    losses = self.arena.valkey_losses
                seen.append(event)
            silences = 0 if batch else silences + 1
            if silences >= 4 and await self._has_ended(run):
                return

    async def _read(self, run: Run, after: EventId) -> list[Event]:
        try:
            return await asyncio.wait_for(self.arena.events.read(run.run_id, after, block_ms=500), 5)
        except (RedisError, TimeoutError):
            await asyncio.sleep(0.2)
            return []

    async def _has_ended(self, run: Run) -> bool:
        with suppress(*AWAY):
            progress = await self.arena.runs.progress(run.run_id)
            return progress is not None and progress.status in TERMINAL
        return False

    # -- disturbing ----------------------------------------------------------------------------------------------

    async def hit(self, fault: str, worker: WorkerProcess) -> None:
        """Kill or pause a worker and note what it was doing."""
        if fault.startswith("kill"):
            await worker.kill()
        else:
            worker.pause()
        phases: tuple[Phase, ...] = ("unknown",)
        with suppress(*AWAY):
            phases = await self._phases(worker)
        self.hits.append(Hit(fault, time.time() - self._began_at, phases))

    async def _phases(self, worker: WorkerProcess) -> tuple[Phase, ...]:
        async with self.arena.admin() as conn:
            rows = await (
                await conn.execute("SELECT run_id FROM runs WHERE starts_with(worker, %s) AND status = 'running'", (worker.name + ":",))
            ).fetchall()
        held = {row["run_id"] for row in rows}
        found = [
            await self._phase(thread, place, run) for thread in self.threads for place, run in enumerate(thread.runs) if run.run_id in held
        ]
        return tuple(found) or ("held nothing",)

    async def _phase(self, thread: Thread, place: int, run: Run) -> Phase:
        latest = await self.arena.saver.aget_tuple(thread.config)
        if latest is None or latest.metadata.get("run_id") != str(run.run_id):
            return "before the first checkpoint"
        return BEFORE_THE_END if latest.metadata["step"] == thread.expected.last_steps[place] else "in a step"

    @asynccontextmanager
    async def held_before_its_end(self) -> AsyncIterator[WorkerProcess | None]:
        """A worker with a run that has stored its last checkpoint and waits to store its end; None where none gets there in time."""
        active = [thread for thread in self.threads if thread.runs and not await self._has_ended(thread.runs[-1])]
        if not active:
            yield None
            return
        thread = active[-1]  # the youngest: it will not end while we take its lock
        async with self.arena.admin() as conn, conn.transaction():
            await conn.execute("SELECT FROM threads WHERE thread_id = %s FOR NO KEY UPDATE", (thread.thread_id,))
            yield await self._until_someone_waits(conn.info.backend_pid, thread)

    async def _until_someone_waits(self, locker: int, thread: Thread) -> WorkerProcess | None:
        waiting = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)) AND application_name <> 'chaos'"
        with suppress(TimeoutError):
            # Not through the connection that holds the lock: within a transaction the activity shown is that of its first look.
            async with asyncio.timeout(AIM_SECONDS), self.arena.admin() as conn:
                while True:
                    if await (await conn.execute(waiting, (locker,))).fetchone():
                        for run in thread.runs:
                            if holder := await self.arena.holder(run.run_id):
                                return holder
                    await asyncio.sleep(0.02)
        return None

    # -- reading back --------------------------------------------------------------------------------------------

    async def _watch_starts(self) -> None:
        """`started_at` is that of the last claim; the first one is what must not be early."""
        while True:
            with suppress(*AWAY):
                async with self.arena.admin() as conn:
                    while True:
                        for row in await (await conn.execute("SELECT run_id, started_at FROM runs WHERE status = 'running'")).fetchall():
                            self._first_started.setdefault(row["run_id"], row["started_at"].timestamp())
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)

    async def _history(self, free_at: float) -> History:
        runs, threads = [], []
        for thread in self.threads:
            record = await self.arena.patiently(partial(self._thread, thread))
            threads.append(record)
            runs += [await self.arena.patiently(partial(self._run, thread, place, record, free_at)) for place in range(len(thread.runs))]
        longest = max(thread.plan.seconds for thread in self.threads)
        return History(tuple(runs), tuple(threads), RECOVERY_SECONDS + longest)

    async def _thread(self, thread: Thread) -> ThreadRecord:
        stored = []
        everything: RunnableConfig = {"configurable": {"thread_id": str(thread.thread_id)}}
        async for item in self.arena.saver.alist(everything):
            here: Any = item.config["configurable"]
            above: Any = (item.parent_config or {}).get("configurable", {})
            stored.append(
                StoredCheckpoint(
                    here["checkpoint_id"],
                    above.get("checkpoint_id"),
                    str(item.metadata.get("run_id")),
                    item.metadata["step"],
                    here.get("checkpoint_ns", ""),
                )
            )
        graph = getattr(graphs(), thread.plan.graph).copy(update={"checkpointer": self.arena.saver})
        values = (await self.arena.threads.get(LOCAL, thread.thread_id)).values
        last = (await graph.aget_state(thread.config)).values
        return ThreadRecord(str(thread.thread_id), values, last, tuple(stored), expected_steps=thread.expected.steps)

    async def _run(self, thread: Thread, place: int, record: ThreadRecord, free_at: float) -> RunRecord:
        run = await self.arena.runs.get(LOCAL, thread.thread_id, thread.runs[place].run_id)
        events = await self._events(thread, run)
        ended = run.updated_at.timestamp() if run.status in TERMINAL else None
        told = json.loads(events[-1].data).get("values") if events[-1].name == END and events[-1].data else None
        expected = thread.expected.values[place]
        return RunRecord(
            run_id=str(run.run_id),
            thread_id=str(thread.thread_id),
            status=run.status,
            error=run.error,
            started_at=self._first_started.get(run.run_id),
            ended_at=ended,
            free_at=max(free_at, thread.accepted_at[run.run_id]),
            expected=expected,
            # Where the record of the end was lost, the thread tells what its last run left.
            values=told if told is not None else record.values if run.run_id == thread.runs[-1].run_id else expected,
            events=tuple(SeenEvent((event.id.epoch, event.id.seq), event.name) for event in events),
            expected_status=thread.expected.statuses[place],
        )

    async def _events(self, thread: Thread, run: Run) -> list[Event]:
        """What the follower saw and what came after; where the record of the end was lost with a worker, a client is told so."""
        seen = thread.seen[run.run_id]
        seen = [*seen, *await self._read(run, _last_id(seen))]
        if any(event.name == END for event in seen):
            return seen
        self.ends_lost += 1
        return [*seen, Event(_last_id(seen), "gap", b"{}"), Event(EventId(run.epoch, 10**9), END, b"")]


def _last_id(seen: list[Event]) -> EventId:
    return seen[-1].id if seen else START


def _hole(last: EventId, found: EventId) -> bool:
    return found.seq != (last.seq + 1 if found.epoch == last.epoch else 1)


# -- faults ------------------------------------------------------------------------------------------------------


async def chaos(seed: Seed) -> None:
    """Faults of a seed at moments of the seed, two more threads before each; workers that died are replaced after it."""
    kinds = seed.random.choices(list(FAULTS), weights=list(WEIGHTS), k=4)
    # Kills are what the suite counts, so each seed has some.
    kinds = [*kinds, seed.random.choice(["kill", "kill before the end"]), "kill before the end"]
    seed.random.shuffle(kinds)
    for kind in kinds:
        seed.begin(2)
        await asyncio.sleep(seed.random.uniform(0.1, 1.2))
        seed.faults.append(kind)
        await FAULTS[kind](seed)
        await seed.arena.replace_workers()


async def _kill(seed: Seed) -> None:
    await seed.hit("kill", seed.random.choice(seed.arena.workers))


async def _kill_before_the_end(seed: Seed) -> None:
    async with seed.held_before_its_end() as worker:
        await seed.hit("kill before the end", worker or seed.random.choice(seed.arena.workers))


async def _pause(seed: Seed) -> None:
    worker = seed.random.choice(seed.arena.workers)
    await seed.hit("pause", worker)
    await asyncio.sleep(LEASE_SECONDS * seed.random.uniform(1.2, 2.5))
    worker.wake()


async def _pause_before_the_end(seed: Seed) -> None:
    async with seed.held_before_its_end() as worker:
        worker = worker or seed.random.choice(seed.arena.workers)
        await seed.hit("pause before the end", worker)
    await asyncio.sleep(LEASE_SECONDS * seed.random.uniform(1.2, 2.5))
    worker.wake()


async def _end_backends(seed: Seed) -> None:
    await seed.arena.end_backends(0.5, seed.random.random)


FAULTS: dict[str, Callable[[Seed], Awaitable[None]]] = {
    "kill": _kill,
    "kill before the end": _kill_before_the_end,
    "pause": _pause,
    "pause before the end": _pause_before_the_end,
    "postgres restarted": lambda seed: seed.arena.restart_postgres(kill=False),
    "postgres killed": lambda seed: seed.arena.restart_postgres(kill=True),
    "valkey restarted": lambda seed: seed.arena.restart_valkey(kill=False),
    "valkey killed": lambda seed: seed.arena.restart_valkey(kill=True),
    "valkey wiped": lambda seed: seed.arena.wipe_valkey(),
    "backends ended": _end_backends,
}
WEIGHTS = (3, 2, 3, 2, 1, 1, 1, 1, 1, 2)


def describe(number: int, seed: Seed) -> str:
    """One line for the log: what was done to the seed and where it hit."""
    hits = "; ".join(f"{hit.fault} at {hit.seconds:.1f} s: {', '.join(hit.phases)}" for hit in seed.hits)
    runs = sum(len(thread.runs) for thread in seed.threads)
    return f"seed {number}: {runs} runs, {', '.join(seed.faults)}. {hits or 'no worker hit'}. {seed.ends_lost} ends not read"


def plans(seed: Seed) -> list[ThreadPlan]:
    """The threads of a seed."""
    return draw_all(seed.random)


async def little_chaos(seed: Seed) -> None:
    """A kill where it hurts most and one fault of the seed, for those who wait for their tests."""
    for kind in ("kill before the end", seed.random.choice(list(FAULTS))):
        seed.begin(2)
        await asyncio.sleep(seed.random.uniform(0.1, 1.2))
        seed.faults.append(kind)
        await FAULTS[kind](seed)
        await seed.arena.replace_workers()
