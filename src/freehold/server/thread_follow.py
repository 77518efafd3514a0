"""Follows a thread: one run after the other, those that start later included, for as long as somebody reads.

Postgres says which runs there are and in which order they began; Valkey rings when one is accepted. Each is read by a
`RunFollower`, so what goes away meanwhile is its concern. Every event gets its number on the thread (core.sequence), which is
all a client needs to go on elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import orjson

from freehold.core import sequence
from freehold.core.caller import Caller
from freehold.core.errors import NotFound, StorageUnavailable
from freehold.core.event import PROTOCOL, Event
from freehold.core.run import Run
from freehold.events.log import KEEP_SECONDS
from freehold.server.follow import GAP, Ending, RunFollower
from freehold.server.parts import ServerParts
from freehold.storage.thread_runs import Watched

METADATA = "metadata"

#: How the life of a run itself is told in the protocol; what it says where it begins.
ROOT_LIFECYCLE = PROTOCOL + "lifecycle"
RUNNING = b'"event":"running"'

#: How long to wait for a run before a sign of silence is given.
SILENCE_SECONDS = 2.0

#: Where several runs wait, or one for a later time, we look this often which one begins.
BEGINNING_SECONDS = 0.25


@dataclass(frozen=True)
class Told:
    """Some events of one run, each with its number on the thread. With `ending` they are its last, and `number` is free for more."""

    run: Run
    events: Sequence[tuple[int, Event]]
    #: The run had ended before anybody looked; `age_seconds`: since it was accepted.
    was_over: bool
    age_seconds: float
    is_newest: bool
    number: int
    ending: Ending | None = None
    #: Its worker has told how it ended, in an event of the protocol.
    told_its_end: bool = False


class ThreadFollower:
    """Reads one thread for one client, who was authorised for it.

    Args:
        since: go on after this number; 0 for none.
        replay: without `since`, begin with what is kept of runs that have ended; else with those that have not.
        may_be_missing: the thread is made by the first run on it; until then, and where it is somebody else's, there is silence.
    """

    def __init__(
        self, parts: ServerParts, caller: Caller, thread_id: UUID, *, since: int = 0, replay: bool = False, may_be_missing: bool = False
    ) -> None:
        self._parts = parts
        self._caller = caller
        self._thread_id = thread_id
        self._since = since
        self._replay = replay
        self._may_be_missing = may_be_missing
        #: Runs that ended before this are not looked at; None until it is opened.
        self._from: datetime | None = None
        #: Runs that were followed to their end.
        self._done: set[UUID] = set()

    async def open(self) -> int:
        """Begin here, rather than with the first look; gives the number to go on after for a client that was told nothing yet.

        Raises NotFound, StorageUnavailable.
        """
        if self._since:
            self._from = sequence.moment(self._since)
            return self._since
        now = await self._parts.thread_runs.clock()
        self._from = now - timedelta(seconds=KEEP_SECONDS) if self._replay else now
        active = await self._parts.thread_runs.of_thread(self._caller, self._thread_id, since=self._from)
        return min(sequence.microseconds(moment) - 1 for moment in (self._from, *(watched.run.created_at for watched in active)))

    async def told(self) -> AsyncGenerator[Told | None, None]:
        """What the runs tell; None every second or two of silence. Ends when the thread is gone. Close it (`aclosing`)."""
        with self._parts.reader.bell(self._thread_id) as bell:
            while True:
                try:
                    found = await self._look()
                except NotFound:
                    if not self._may_be_missing:
                        return
                    found = []
                except StorageUnavailable:  # it comes back; the client's stream stays open
                    yield None
                    await bell.rung(SILENCE_SECONDS)
                    continue
                following = _next(found)
                if following:
                    async with aclosing(self._follow(following, is_newest=following is found[-1])) as told:
                        async for some in told:
                            yield some
                    self._leave_behind(following.run, found)
                elif any(watched.is_due for watched in found):
                    yield None
                    await bell.rung(BEGINNING_SECONDS)
                else:  # server/thread_bells.py rings for what nobody announced
                    while not await bell.rung(SILENCE_SECONDS):
                        yield None

    async def _look(self) -> list[Watched]:
        """Runs that are still to be followed, in order."""
        if self._from is None:
            await self.open()
        assert self._from
        # A client that leaves does not break off what the database is doing: its connection would have to be cleared up.
        looking = asyncio.create_task(self._parts.thread_runs.of_thread(self._caller, self._thread_id, since=self._from))
        looking.add_done_callback(_heard)
        found = await asyncio.shield(looking)
        self._may_be_missing = False
        return [watched for watched in found if watched.run.run_id not in self._done]

    def _leave_behind(self, run: Run, found: Sequence[Watched]) -> None:
        """Whatever is still to come ends after this one began."""
        self._done = {*self._done.intersection(watched.run.run_id for watched in found), run.run_id}
        if run.started_at and self._from:
            self._from = max(self._from, run.started_at)

    async def _follow(self, watched: Watched, *, is_newest: bool) -> AsyncGenerator[Told | None, None]:
        run, base, some = watched.run, sequence.base(watched.run), False
        number, told_its_end = base, False
        told = partial(Told, run, was_over=not run.is_active, age_seconds=watched.age_seconds, is_newest=is_newest)
        follower = RunFollower(self._parts, run)
        async with aclosing(follower.batches()) as batches:
            async for batch in batches:
                if not batch:
                    yield None
                if not run.is_active and not self._since and not some and any(event.name == GAP for event in batch):
                    return  # what ended and is not kept was not asked for
                numbered, lost = [], False
                for event in batch:
                    if event.name == METADATA:
                        base = _base(event, base)
                    elif event.name == ROOT_LIFECYCLE:
                        told_its_end = RUNNING not in event.data
                    some, lost, number = True, lost or event.name == GAP, base + event.id.seq
                    number = max(number, self._since) if lost else number
                    if lost or number > self._since:
                        numbered.append((number, event))
                if numbered:
                    yield told(events=numbered, number=number)
        if number + 1 > self._since:
            yield told(events=(), number=number + 1, ending=follower.ending, told_its_end=told_its_end)


def _heard(looking: asyncio.Task[list[Watched]]) -> None:
    """Whoever asked may have left; then nobody is told of a failure, and that is right."""
    if not looking.cancelled():
        looking.exception()


def _next(found: Sequence[Watched]) -> Watched | None:
    """The one to follow: what has begun first. Of several that wait, nobody knows which begins."""
    if found and (found[0].run.started_at or not found[0].run.is_active):
        return found[0]
    return found[0] if len(found) == 1 and found[0].is_due else None


def _base(event: Event, otherwise: int) -> int:
    """What an attempt's numbers are counted from, as its first event has it."""
    started = orjson.loads(event.data).get("started")
    return started if isinstance(started, int) else otherwise
