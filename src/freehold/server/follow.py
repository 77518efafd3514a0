"""Follows one run until it has ended, whatever goes away meanwhile.

Events come from Valkey. The record named `end` closes a stream and holds the result, so no database is asked on the
way. Silence is the moment to look into Postgres, which alone knows: a run can end without a word, when it was cancelled
before it began or when Valkey lost its memory. Ids of one attempt have no holes, so a hole is a loss, and the reader is
told with a `gap` event and the state as it is now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError

from freehold.core.caller import Caller, acting_for
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, NotFound, StorageUnavailable
from freehold.core.event import END, START, Event, EventId
from freehold.core.run import TERMINAL, Run
from freehold.events.reader import Watch
from freehold.server.graph_state import current_values
from freehold.server.parts import ServerParts
from freehold.storage.runs import RunProgress

log = logging.getLogger(__name__)

#: How long one read waits for an event before we look around.
SILENCE_SECONDS = 1.0

#: Pause before Valkey is asked again, after it did not answer.
AWAY_SECONDS = 0.5

#: Silent reads after which we look around every time, and how many there are between two looks later on.
ATTENTIVE = 5
RELAXED = 3

#: A run that ended longer ago than this has written its last event, if it ever will.
SETTLED_SECONDS = 5.0

#: Silent looks after a run's end before its missing last event is given up; Valkey away counts, so it has time to return.
PATIENCE = 2
PATIENCE_WHILE_AWAY = 8

GAP = "gap"


@dataclass(frozen=True)
class Ending:
    """How a run ended. `values` are the thread's values, `interrupts` as clients see them, `error` as `{"error", "message"}`."""

    status: str
    values: Any = None
    interrupts: tuple[dict[str, Any], ...] = ()
    error: dict[str, Any] | None = None

    @classmethod
    def parse(cls, data: bytes) -> Ending:
        """From the data of the `end` record."""
        found = orjson.loads(data)
        return cls(found["status"], found.get("values"), tuple(found.get("interrupts") or ()), found.get("error"))

    def answer(self) -> Any:
        """What `wait` and `join` give: the values, `__interrupt__` beside them, or `{"__error__": ...}`."""
        if self.error:
            return {"__error__": self.error}
        if self.interrupts:
            return {**(self.values if isinstance(self.values, dict) else {}), "__interrupt__": self.interrupts}
        return self.values


class RunFollower:
    """Reads one run for one client; the caller was authorised when it was made."""

    def __init__(self, parts: ServerParts, run: Run, after: EventId = START, *, end_only: bool = False) -> None:
        self._parts = parts
        self._end_only = end_only
        self._run = run
        self._after = after
        self._silences = 0
        self._looks_after_end = 0
        self._away = False
        self._settled = not run.is_active and run.untouched_seconds > SETTLED_SECONDS
        self.ending: Ending | None = None

    @property
    def tells_protocol(self) -> bool:
        """Whether its events are those of the event streaming protocol."""
        return self._run.request.event_streaming

    async def end(self) -> Ending:
        """Wait for the end and give it."""
        async with aclosing(self.batches()) as batches:
            async for _ in batches:
                pass
        assert self.ending is not None
        return self.ending

    async def batches(self) -> AsyncGenerator[list[Event], None]:
        """Events as they come, everything one read gave at once; an empty list every second or two of silence.

        Ends when the run has ended; then `ending` is set. A synthetic event carries the id of the one before it.
        Close it (`aclosing`), so that the run is not watched any longer than somebody looks.
        """
        with self._parts.reader.watch(self._run.run_id, end_only=self._end_only) as watch:
            while self.ending is None:
                found = await self._read(watch)
                if not found:
                    yield await self._look_around(watch)
                elif self._end_only:
                    self._take(found)
                    continue
                for torn, events in pieces(self._after, found):
                    if torn:
                        yield await self._tell_gap("events were lost")
                    yield self._take(events)

    async def _read(self, watch: Watch) -> list[Event]:
        try:
            found = await watch.read(self._after, seconds=0 if self._settled else SILENCE_SECONDS)
        except (RedisError, TimeoutError):
            self._away = True
            await asyncio.sleep(AWAY_SECONDS)
            return []
        self._away = False
        return found

    def _take(self, found: list[Event]) -> list[Event]:
        self._after = found[-1].id
        self._silences = 0
        for place, event in enumerate(found):
            if event.name == END:
                self.ending = Ending.parse(event.data)
                return found[:place]
        return found

    async def _look_around(self, watch: Watch) -> list[Event]:
        """Nothing came: has the run ended, or gone altogether?"""
        self._silences += 1
        if self._silences > ATTENTIVE and self._silences % RELAXED and not self._looks_after_end:
            return []
        look = asyncio.create_task(self._parts.standing.of(self._run.run_id))
        if not self._away and not await _comes_first(look, watch.stirred()):
            return []  # events do not wait for a slow database
        watch.stir()  # should an event be there that nobody announced, the next read finds it
        try:
            progress = await look
            if progress is not None and progress.status not in TERMINAL:
                return []
            self._looks_after_end += 1
            if self._may_still_speak(progress):
                return []
            return await self._end_without_word(progress)
        except StorageUnavailable:
            return []  # it comes back; the client's stream stays open

    def _may_still_speak(self, progress: RunProgress | None) -> bool:
        if self._settled or (progress is not None and progress.epoch == 0):
            return False  # it never began, so nobody writes for it
        return self._looks_after_end < (PATIENCE_WHILE_AWAY if self._away else PATIENCE)

    async def _end_without_word(self, progress: RunProgress | None) -> list[Event]:
        try:
            # The thread may have moved on since; these are the values it has now.
            thread = await self._parts.threads.get(self._caller, self._run.thread_id)
        except NotFound:
            progress = None
        if progress is None:
            error = {"error": "RunRemoved", "message": "the run was removed before it ended"}
            self.ending = Ending("interrupted", error=error)
            return [self._synthetic("error", error)]
        interrupts = tuple(item for items in thread.interrupts.values() for item in items)
        told = [] if progress.epoch == 0 else await self._tell_gap("the events of this run are not kept any more")
        self.ending = Ending(progress.status, thread.values, interrupts, progress.error)
        return told + ([self._synthetic("error", progress.error)] if progress.error else [])

    async def _tell_gap(self, reason: str) -> list[Event]:
        told = [self._synthetic(GAP, {"reason": reason, "run_id": self._run.run_id})]
        try:
            told.append(Event(self._after, "values", await current_values(self._parts, self._caller, self._run.thread_id)))
        except FreeholdError as error:  # the database is away, or the graph does not open: the stream goes on without the state
            log.warning("no state for a gap in run %s: %s", self._run.run_id, error.message, extra={"action": "gap_without_state"})
        return told

    def _synthetic(self, name: str, data: Any) -> Event:
        return Event(self._after, name, to_json(data))

    @property
    def _caller(self) -> Caller:
        return acting_for(self._run)


def pieces(after: EventId, found: Sequence[Event]) -> list[tuple[bool, list[Event]]]:
    """Events that follow `after`, in pieces without a hole, each with whether one is before it of which the writer said nothing."""
    parts: list[tuple[bool, list[Event]]] = []
    for event in found:
        expected = after.seq + 1 if event.id.epoch == after.epoch else 1
        torn = event.id.seq != expected and event.name != GAP
        if torn or not parts:
            parts.append((torn, []))
        parts[-1][1].append(event)
        after = event.id
    return parts


async def _comes_first(one: asyncio.Task[Any], other: Coroutine[Any, Any, None]) -> bool:
    """Whether the one is done before the other; whatever is not done is ended."""
    both = {one, asyncio.create_task(other)}
    try:
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return one in done
    finally:
        for task in both:
            task.cancel()


def requested_modes(event: Event, modes: frozenset[str]) -> bool:
    """Whether an event belongs to one of the stream modes a joining client chose; what concerns the run itself always does."""
    base = event.name.partition("|")[0]
    if base in {"metadata", "error", GAP}:
        return True
    if base.startswith("messages/"):
        return "messages" in modes
    return ("messages-tuple" if base == "messages" else base) in modes
