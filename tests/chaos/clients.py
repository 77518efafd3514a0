"""Those who ask for runs and follow them while everything around them fails: straight at the engine, or over HTTP as users do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Protocol
from uuid import UUID

import httpx
from langchain_core.runnables import RunnableConfig
from redis.exceptions import RedisError

from freehold.core.caller import LOCAL
from freehold.core.event import END, START, Event, EventId
from freehold.core.ids import assistant_id, new_id
from freehold.core.run import TERMINAL, Run
from freehold.storage.runs import Target
from tests.chaos.arena import AWAY, AgentServer, Arena
from tests.chaos.scenario import ThreadPlan, Undisturbed
from tests.support.events import read

#: What a client of a server that is killed, stopped or cut off gets to see.
BROKEN = (httpx.TransportError, TimeoutError)


@dataclass
class Thread:
    """A plan being executed."""

    plan: ThreadPlan
    expected: Undisturbed
    thread_id: UUID = field(default_factory=new_id)
    runs: list[Run] = field(default_factory=list)
    accepted_at: dict[UUID, float] = field(default_factory=dict)
    seen: dict[UUID, list[Event]] = field(default_factory=dict)
    #: Runs that a later one stopped, as far as its client was told.
    stopped: set[UUID] = field(default_factory=set)
    #: The answer that tells it was lost, or does not tell.
    stops_unknown: bool = False

    @property
    def config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": str(self.thread_id), "checkpoint_ns": ""}}

    def may_have_been_stopped(self, run: Run) -> bool:
        return run.run_id in self.stopped or (self.stops_unknown and run is not self.runs[-1])


class Clients(Protocol):
    """Asks for the runs of a seed and follows them."""

    async def accept(self, thread: Thread, place: int) -> Run:
        """Have the run of this place accepted, once, also where the answer of the first try was lost."""

    async def follow(self, thread: Thread, run: Run) -> None:
        """Note what comes in `thread.seen` until the run has ended; after a break go on behind the last event."""

    async def rest(self, thread: Thread, run: Run) -> None:
        """Note what came after the follower had gone, when all is over."""

    async def close(self) -> None:
        """Nothing more is asked."""


async def _unheard_of(arena: Arena, thread: Thread) -> Run | None:
    """A run that was accepted and whose client does not know of it."""
    known = {run.run_id for run in thread.runs}
    found = await arena.runs.list(LOCAL, thread.thread_id)
    return next((run for run in found if run.run_id not in known), None)


async def _has_ended(arena: Arena, run: Run) -> bool:
    with suppress(*AWAY):
        progress = await arena.runs.progress(run.run_id)
        return progress is None or progress.status in TERMINAL
    return False


class EngineClients:
    """Without a server: storage and events as a server uses them."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena

    async def accept(self, thread: Thread, place: int) -> Run:
        plan = thread.plan
        target = Target(assistant_id(plan.graph), plan.graph, thread.thread_id, create_thread=True)
        tries = 0

        async def attempt() -> Run:
            nonlocal tries
            tries += 1
            if tries > 1 and (run := await _unheard_of(self._arena, thread)):
                thread.stops_unknown = True
                return run
            accepted = await self._arena.runs.accept(LOCAL, target, plan.requests[place], strategy=plan.strategy)
            thread.stopped.update(accepted.stopped)
            return accepted.run

        run = await self._arena.patiently(attempt)
        with suppress(RedisError):
            await self._arena.events.wake_workers()
        return run

    async def follow(self, thread: Thread, run: Run) -> None:
        """Silence is the moment to ask Postgres."""
        seen = thread.seen.setdefault(run.run_id, [])
        losses, silences = self._arena.valkey_losses, 0
        while not seen or seen[-1].name != END:
            batch = await self._read(run, last_id(seen))
            for event in batch:
                if self._arena.valkey_losses > losses and _hole(last_id(seen), event.id):
                    seen.append(Event(last_id(seen), "gap", b"{}"))
                    losses = self._arena.valkey_losses
                seen.append(event)
            silences = 0 if batch else silences + 1
            if silences >= 4 and await _has_ended(self._arena, run):
                return

    async def rest(self, thread: Thread, run: Run) -> None:
        seen = thread.seen[run.run_id]
        seen += await self._read(run, last_id(seen))

    async def close(self) -> None:
        """The arena's connections are not ours."""

    async def _read(self, run: Run, after: EventId) -> list[Event]:
        try:
            return await asyncio.wait_for(read(self._arena.events, run.run_id, after, block_ms=500), 5)
        except (RedisError, TimeoutError):
            await asyncio.sleep(0.2)
            return []


class HttpClients:
    """Over HTTP, at any of the servers; some leave in the middle and come back elsewhere."""

    def __init__(self, arena: Arena, random: Random) -> None:
        self._arena = arena
        self._random = random
        self._http = httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(5, read=12))

    def _server(self) -> AgentServer:
        return self._random.choice(self._arena.servers)

    async def accept(self, thread: Thread, place: int) -> Run:
        asked = {name: value for name, value in asdict(thread.plan.requests[place]).items() if name in _SENT and value is not None}
        body = {
            **asked,
            "assistant_id": thread.plan.graph,
            "if_not_exists": "create",
            "multitask_strategy": thread.plan.strategy,
        }
        thread.stops_unknown = True
        tries = 0
        async with asyncio.timeout(60):
            while True:
                tries += 1
                with suppress(*AWAY):
                    if tries > 1 and (run := await _unheard_of(self._arena, thread)):
                        return run
                    with suppress(*BROKEN):
                        answer = await self._http.post(f"{self._server().url}/threads/{thread.thread_id}/runs", json=body)
                        if answer.is_success:
                            return await self._accepted(thread, UUID(answer.json()["run_id"]))
                        assert answer.status_code >= 500, answer.text
                await asyncio.sleep(0.2)

    async def _accepted(self, thread: Thread, run_id: UUID) -> Run:
        """From here on it must be there, whatever happens."""
        return await self._arena.patiently(lambda: self._arena.runs.get(LOCAL, thread.thread_id, run_id))

    async def follow(self, thread: Thread, run: Run) -> None:
        seen = thread.seen.setdefault(run.run_id, [])
        while not seen or seen[-1].name != END:
            leaves_after = self._random.choice([3, 8, 1000])
            try:
                if await self._join(run, seen, leaves_after):
                    seen.append(Event(EventId(last_id(seen).epoch, last_id(seen).seq + 1), END, b""))
            except BROKEN:
                await asyncio.sleep(0.2)

    async def _join(self, run: Run, seen: list[Event], leaves_after: int) -> bool:
        """Read one connection; True: the server ended the stream as it should."""
        url = f"{self._server().url}/threads/{run.thread_id}/runs/{run.run_id}/stream"
        async with self._http.stream("GET", url, headers={"Last-Event-ID": str(last_id(seen)) if seen else ""}) as answer:
            if answer.status_code == 404:
                return True  # taken back
            if answer.status_code != 200:
                assert answer.status_code >= 500, await answer.aread()
                raise TimeoutError
            taken = 0
            async for event in _events(answer):
                seen.append(event)
                taken += 1
                if taken == leaves_after:
                    return False
        return True

    async def rest(self, thread: Thread, run: Run) -> None:
        """A stream that has ended has told everything: nothing more may come behind its last event."""
        seen = thread.seen[run.run_id]
        before = [event for event in seen if event.name != END]
        again: list[Event] = []
        with suppress(*BROKEN):
            await self._join_again(run, again, last_id(before))
        seen += [event for event in again if event.name != "gap" and event.id > last_id(before)]

    async def _join_again(self, run: Run, again: list[Event], after: EventId) -> None:
        url = f"{self._server().url}/threads/{run.thread_id}/runs/{run.run_id}/stream"
        async with self._http.stream("GET", url, headers={"Last-Event-ID": str(after)}) as answer:
            if answer.status_code == 200:
                again += [event async for event in _events(answer)]

    async def close(self) -> None:
        await self._http.aclose()


#: What of a request goes over the wire.
_SENT = frozenset({"input", "command", "config", "stream_mode", "durability"})


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    """Server-sent events; one that was cut in the middle is none."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "event" in fields and "id" in fields:
            yield Event(EventId.parse(fields["id"]), fields["event"], fields.get("data", "").encode())
        fields = {}


def last_id(seen: list[Event]) -> EventId:
    return seen[-1].id if seen else START


def values_at_end(seen: list[Event]) -> object:
    """The values that came with the end, where a client was told them."""
    return json.loads(seen[-1].data).get("values") if seen and seen[-1].name == END and seen[-1].data else None


def _hole(last: EventId, found: EventId) -> bool:
    return found.seq != (last.seq + 1 if found.epoch == last.epoch else 1)
