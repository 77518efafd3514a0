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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from freehold.core.caller import LOCAL
from freehold.core.errors import NotFound
from freehold.core.event import END, Event, EventId
from freehold.core.run import TERMINAL, Run
from tests.chaos.arena import AWAY, Arena, WorkerProcess
from tests.chaos.checker import GONE
from tests.chaos.clients import Clients, EngineClients, HttpClients, Thread, last_id, values_at_end
from tests.chaos.history import History, RunRecord, SeenEvent, StoredCheckpoint, ThreadRecord
from tests.chaos.scenario import ThreadPlan, draw_all, graphs, items_left, undisturbed

#: How soon a run goes on once the last fault is lifted, beyond what it takes undisturbed.
RECOVERY_SECONDS = 15.0

#: Until a run that was aimed at reaches its end; then the fault comes where the run is.
AIM_SECONDS = 12.0

Phase = Literal[
    "held nothing",
    "before the first checkpoint",
    "in a step",
    "between the last checkpoint and the end",
    "storing its last checkpoint with its end",
    "unknown",
]
BEFORE_THE_END: Phase = "between the last checkpoint and the end"
STORING_THE_END: Phase = "storing its last checkpoint with its end"


@dataclass(frozen=True)
class Hit:
    """A worker that was killed, stopped or cut off, when (seconds after the seed began), and what the runs it held were about."""

    fault: str
    seconds: float
    held: dict[str, Phase]

    @property
    def at_the_end(self) -> bool:
        """Whether it came between a last checkpoint and a final status, or where both were on their way."""
        return bool({BEFORE_THE_END, STORING_THE_END} & set(self.phases))

    @property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(self.held.values()) or ("held nothing",)


class Seed:
    """Executes one seed in an arena; its clients go over HTTP where the arena has servers."""

    def __init__(self, arena: Arena, number: int) -> None:
        self.arena = arena
        self.number = number
        self.random = Random(number)
        self.clients: Clients = HttpClients(arena, Random(number)) if arena.servers else EngineClients(arena)
        self.hits: list[Hit] = []
        self.faults: list[str] = []
        #: Runs whose `end` record nobody got to read: it was lost with a worker or with Valkey.
        self.ends_lost = 0
        #: Runs that were stopped or taken back by another one.
        self.stopped = 0
        #: Seconds the last run took to end after the last fault was lifted.
        self.recovered_in = 0.0
        #: The backend that holds an end up, and the run whose end it is.
        self._held_up: tuple[int, UUID] | None = None
        self._began_at = time.time()
        self._first_started: dict[UUID, float] = {}
        self._endings: dict[UUID, set[tuple[str, float]]] = {}
        self.threads: list[Thread] = []
        self._waiting: list[Thread] = []

    async def play(self, plans: list[ThreadPlan], disturb: Callable[[Seed], Awaitable[None]]) -> History:
        """Accept and follow the runs, disturb them, wait until all is quiet, and give what happened."""
        self._waiting = [Thread(plan, await undisturbed(plan)) for plan in plans]
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(240), asyncio.TaskGroup() as group:
                self._group = group
                await disturb(self)
                self.begin(len(self._waiting))
                await self.arena.replace_dead()
                free_at = time.time()
            await asyncio.sleep(0.5)  # what a stale worker still has to say
            return await self._history(free_at)
        finally:
            watching.cancel()
            await self.clients.close()

    def begin(self, count: int) -> None:
        """Start with the next threads of the plan."""
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        self.threads += now
        for thread in now:
            self._group.create_task(self._drive(thread))

    async def _drive(self, thread: Thread) -> None:
        following = []
        for place in range(len(thread.plan.requests)):
            if thread.plan.pauses:
                await asyncio.sleep(thread.plan.pauses[place])
            run = await self.clients.accept(thread, place)
            thread.runs.append(run)
            thread.accepted_at[run.run_id] = time.time()
            task = asyncio.create_task(self.clients.follow(thread, run))
            following.append(task)
            if not thread.plan.at_once:
                await task
        await asyncio.gather(*following)

    # -- disturbing ----------------------------------------------------------------------------------------------

    async def hit(self, fault: str, worker: WorkerProcess) -> None:
        """Kill or pause a worker and note what it was doing."""
        if fault.startswith("kill"):
            await worker.kill()
        else:
            worker.pause()
        await self.note(fault, worker)

    async def note(self, fault: str, worker: WorkerProcess) -> None:
        """Note what a worker is doing as something happens to it."""
        held: dict[str, Phase] = {"?": "unknown"}
        seconds = time.time() - self._began_at
        with suppress(*AWAY):
            held = await self._held(worker)
        self.hits.append(Hit(fault, seconds, held))

    async def _held(self, worker: WorkerProcess) -> dict[str, Phase]:
        async with self.arena.admin() as conn:
            rows = await (
                await conn.execute("SELECT run_id FROM runs WHERE starts_with(worker, %s) AND status = 'running'", (worker.name + ":",))
            ).fetchall()
        held = {row["run_id"] for row in rows}
        return {
            str(run.run_id): await self._phase(thread, place, run)
            for thread in self.threads
            for place, run in enumerate(thread.runs)
            if run.run_id in held
        }

    async def _phase(self, thread: Thread, place: int, run: Run) -> Phase:
        phase = await self._phase_by_checkpoint(thread, place, run)
        held_up = self._held_up is not None and self._held_up[1] == run.run_id
        return STORING_THE_END if held_up and phase != BEFORE_THE_END else phase

    async def _phase_by_checkpoint(self, thread: Thread, place: int, run: Run) -> Phase:
        latest = await self.arena.saver.aget_tuple(thread.config)
        if latest is None or latest.metadata.get("run_id") != str(run.run_id):
            return "before the first checkpoint"
        if thread.plan.strategy != "enqueue":  # how many steps there were before depends on who was stopped when
            return "in a step" if (await self._state(thread)).next else BEFORE_THE_END
        return BEFORE_THE_END if latest.metadata["step"] == thread.expected.last_steps[place] else "in a step"

    async def _state(self, thread: Thread) -> Any:
        graph = getattr(graphs(), thread.plan.graph).copy(update={"checkpointer": self.arena.saver})
        return await graph.aget_state(thread.config)

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
            try:
                yield await self._until_someone_waits(conn.info.backend_pid, thread)
            finally:
                self._held_up = None

    async def lose_the_end(self) -> None:
        """What was on its way to store the end that is held up is undone, as when the connection had ended a moment before."""
        if self._held_up:
            async with self.arena.admin() as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", (self._held_up[0],)
                )

    async def _has_ended(self, run: Run) -> bool:
        progress = await self.arena.patiently(partial(self.arena.runs.progress, run.run_id))
        return progress is None or progress.status in TERMINAL

    async def _until_someone_waits(self, locker: int, thread: Thread) -> WorkerProcess | None:
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
            " AND starts_with(application_name, 'freehold') AND application_name <> 'freehold-server'"
        )
        with suppress(TimeoutError):
            # Not through the connection that holds the lock: within a transaction the activity shown is that of its first look.
            async with asyncio.timeout(AIM_SECONDS), self.arena.admin() as conn:
                while True:
                    if await (await conn.execute(waiting, (locker,))).fetchone():
                        for run in thread.runs:
                            if holder := await self.arena.holder(run.run_id):
                                self._held_up = (locker, run.run_id)
                                return holder
                    await asyncio.sleep(0.02)
        return None

    # -- reading back --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """When runs began, because `started_at` is that of the last claim, and every end that was ever to be seen."""
        while True:
            with suppress(*AWAY):
                async with self.arena.admin() as conn:
                    while True:
                        await self._look(conn)
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)

    async def _look(self, conn: Any) -> None:
        recent = "SELECT run_id, status, started_at, updated_at FROM runs WHERE status = 'running' OR updated_at > now() - interval '5 s'"
        for row in await (await conn.execute(recent)).fetchall():
            if row["status"] == "running":
                self._first_started.setdefault(row["run_id"], row["started_at"].timestamp())
            elif row["status"] in TERMINAL:
                self._endings.setdefault(row["run_id"], set()).add((row["status"], row["updated_at"].timestamp()))

    async def _history(self, free_at: float) -> History:
        runs, threads = [], []
        for thread in self.threads:
            record = await self.arena.patiently(partial(self._thread, thread))
            threads.append(record)
            found = [await self.arena.patiently(partial(self._run, thread, place, record, free_at)) for place in range(len(thread.runs))]
            runs += found if thread.plan.strategy == "enqueue" else _judged_by_how_far_they_got(thread, found)
        self.stopped = sum(run.status in {GONE, "interrupted"} for run in runs)
        longest = max(thread.plan.seconds for thread in self.threads)
        self.recovered_in = max(run.ended_at - run.free_at for run in runs if run.ended_at is not None)
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
        values = (await self.arena.threads.get(LOCAL, thread.thread_id)).values
        last = (await self._state(thread)).values or None
        at_exits = thread.plan.requests[0].durability == "exit" and "worker drained" in self.faults
        steps = thread.expected.steps if thread.plan.strategy == "enqueue" and not at_exits else None
        return ThreadRecord(str(thread.thread_id), values, last, tuple(stored), expected_steps=steps, stored_at_exits=at_exits)

    async def _run(self, thread: Thread, place: int, record: ThreadRecord, free_at: float) -> RunRecord:
        accepted = thread.runs[place]
        try:
            run = await self.arena.runs.get(LOCAL, thread.thread_id, accepted.run_id)
        except NotFound:
            return self._gone(thread, accepted)
        events = await self._events(thread, run)
        told = values_at_end(events)
        expected = thread.expected.values[place] or None
        return RunRecord(
            run_id=str(run.run_id),
            thread_id=str(thread.thread_id),
            status=run.status,
            error=run.error,
            started_at=self._first_started.get(run.run_id),
            ended_at=run.updated_at.timestamp() if run.status in TERMINAL else None,
            free_at=max(free_at, thread.accepted_at[run.run_id]),
            expected=expected,
            # Where the record of the end was lost, the thread tells what its last run left.
            values=told if told is not None else record.values if accepted is thread.runs[-1] else expected,
            events=tuple(SeenEvent((event.id.epoch, event.id.seq), event.name) for event in events),
            expected_status=thread.expected.statuses[place],
            endings=frozenset(self._endings.get(run.run_id, set())),
        )

    def _gone(self, thread: Thread, run: Run) -> RunRecord:
        taken_back = thread.plan.strategy == "rollback" and thread.may_have_been_stopped(run)
        expected = GONE if taken_back else "success"
        return RunRecord(str(run.run_id), str(thread.thread_id), GONE, None, None, None, 0.0, None, None, None, expected)

    async def _events(self, thread: Thread, run: Run) -> list[Event]:
        """What the follower saw and what came after; where the record of the end was lost with a worker, a client is told so."""
        await self.clients.rest(thread, run)
        seen = thread.seen[run.run_id]
        if any(event.name == END for event in seen):
            return seen
        self.ends_lost += 1
        return [*seen, Event(last_id(seen), "gap", b"{}"), Event(EventId(run.epoch, 10**9), END, b"")]


def _judged_by_how_far_they_got(thread: Thread, records: list[RunRecord]) -> list[RunRecord]:
    """Runs that may stop each other: the last one ends as if undisturbed, on what those before it left when they were stopped."""
    judged = []
    for run, record in zip(thread.runs, records, strict=True):
        stoppable = thread.may_have_been_stopped(run)
        if record.status == GONE:
            judged.append(record)
        elif run is thread.runs[-1]:
            kept = [each.status for each in records if each.status != GONE]
            items = (record.values or {}).get("items", [])
            expected = {"items": items_left(items, runs=len(kept), complete=kept.count("success"))}
            judged.append(replace(record, expected=expected))
        elif thread.plan.strategy == "rollback" and run.run_id in thread.stopped:
            judged.append(replace(record, expected_status=GONE))
        else:
            interrupted = stoppable and record.status == "interrupted" and thread.plan.strategy == "interrupt"
            judged.append(replace(record, expected=record.values, expected_status="interrupted" if interrupted else "success"))
    return judged


def plans(seed: Seed) -> list[ThreadPlan]:
    """The threads of a seed."""
    return [*draw_all(seed.random), *draw_all(seed.random)]


def describe(seed: Seed) -> str:
    """One line for people: what was done to the seed and where it hit."""
    hits = "; ".join(f"{hit.fault} at {hit.seconds:.1f} s: {', '.join(hit.phases)}" for hit in seed.hits)
    runs = sum(len(thread.runs) for thread in seed.threads)
    ends = f"{seed.ends_lost} ends not read, {seed.stopped} runs stopped by others, quiet after {seed.recovered_in:.1f} s"
    return f"seed {seed.number}: {runs} runs, {', '.join(seed.faults)}. {hits or 'no worker hit'}. {ends}"


def log_hits(path: Path, scenario: str, seed: Seed) -> None:
    """A line of JSON for each run that was held by a worker as it was killed, stopped or cut off, and one for the seed."""
    with path.open("a") as log:
        for hit in seed.hits:
            for run_id, phase in hit.held.items() or (("none", "held nothing"),):
                told = {"scenario": scenario, "seed": seed.number, "fault": hit.fault, "seconds": round(hit.seconds, 2)}
                log.write(json.dumps({**told, "run": run_id, "phase": phase}) + "\n")
        runs = sum(len(thread.runs) for thread in seed.threads)
        whole = {"scenario": scenario, "seed": seed.number, "runs": runs, "faults": seed.faults, "quiet_after": round(seed.recovered_in, 2)}
        log.write(json.dumps(whole) + "\n")
