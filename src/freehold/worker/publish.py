"""Writes a run's events: numbered once, sent in small batches, kept while Valkey is away.

Token deltas go out at most every `BATCH_SECONDS`, because one append per token would cost more than the token; what a step
writes, at most every `STEP_SECONDS`. The first event after a silence does not wait, nor does the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from redis.exceptions import RedisError

from freehold.core.errors import LeaseLost
from freehold.core.event import END, Event, EventId
from freehold.core.run import Run
from freehold.events.log import KEEP_SECONDS, UNREACHABLE, EventLog

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.015

#: What a step writes waits this long after the last append, for the next step of a quick run, or for its end.
STEP_SECONDS = 0.005

#: Bytes kept for a run while Valkey is away; beyond it the oldest events are given up and a `gap` says so.
BUFFER_BYTES = 32 * 1024 * 1024

#: After the last event, how long a run may wait for Valkey before its worker goes on without it.
CLOSE_SECONDS = 20.0

#: A run that wrote more bytes than this is kept for a shorter time after its end: Valkey holds all of it in memory.
LARGE_BYTES = 1024 * 1024
KEEP_LARGE_SECONDS = 60


class EventWriter:
    """The only writer of one claim of a run. `async with` starts and stops its sending task.

    Args:
        on_lost: called where a later claim has written already.
        may_linger: asked at the end where Valkey is away; False gives up at once what could not be sent.
    """

    def __init__(self, events: EventLog, run: Run, on_lost: Callable[[], None], may_linger: Callable[[], bool] = lambda: True) -> None:
        self._events = events
        self._run = run
        self._on_lost = on_lost
        self._may_linger = may_linger
        self._seq = 0
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._written = 0
        self._urgent = asyncio.Event()
        self._any = asyncio.Event()
        self._ended = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EventWriter:
        self._task = asyncio.create_task(self._send_all(), name=f"events-{self._run.run_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for reason in (self._any, self._urgent, self._ended):
            reason.set()
        assert self._task is not None
        seconds = 0 if self._events.is_away and not self._may_linger() else CLOSE_SECONDS
        try:
            await asyncio.wait_for(self._task, seconds)
        except TimeoutError:
            log.warning("events of run %s were not all delivered: Valkey is away", self._run.run_id, extra={"action": "events_lost"})

    @property
    def next_number(self) -> int:
        """What the event emitted next will be numbered with."""
        return self._seq + 1

    def emit(self, name: str, data: bytes, *, delta: bool = False, with_next: bool = False) -> None:
        """Queue one event; `delta` ones may wait for a batch, one that goes `with_next` for the event after it, as long."""
        self._seq += 1
        self._waiting.append(Event(EventId(self._run.epoch, self._seq), name, data))
        self._bytes += len(data)
        self._written += len(data)
        if self._bytes > BUFFER_BYTES:
            self._give_up_oldest()
        if with_next:
            asyncio.get_running_loop().call_later(BATCH_SECONDS, self._any.set)
            return
        self._any.set()
        if not delta:
            self._urgent.set()

    def end(self, data: bytes) -> None:
        """Close the stream; readers finish when they see it."""
        self._ended.set()
        self.emit(END, data)

    def _give_up_oldest(self) -> None:
        while self._bytes > BUFFER_BYTES // 2 and len(self._waiting) > 1:
            self._bytes -= len(self._waiting.popleft().data)
        first = self._waiting.popleft()
        self._bytes -= len(first.data)
        gap = b'{"reason":"the event store was away for too long; events were given up"}'
        self._waiting.appendleft(Event(first.id, "gap", gap))

    async def _send_all(self) -> None:
        pause = 0.05
        sent_at = -BATCH_SECONDS
        clock = asyncio.get_running_loop().time
        while True:
            await self._any.wait()
            await _within(sent_at + BATCH_SECONDS - clock(), self._urgent)
            await _within(sent_at + STEP_SECONDS - clock(), self._ended)
            sent_at = clock()
            self._any.clear()
            self._urgent.clear()
            batch = list(self._waiting)
            if not batch:
                if self._closing:
                    return
                continue
            try:
                keep = KEEP_SECONDS if self._written <= LARGE_BYTES else KEEP_LARGE_SECONDS
                await self._events.append(self._run.run_id, batch, close=batch[-1].name == END, keep_seconds=keep)
            except LeaseLost:
                self._on_lost()
                return
            except UNREACHABLE:
                self._any.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            except RedisError as error:
                log.error("events of run %s cannot be written: %s", self._run.run_id, error, extra={"action": "events_refused"})
                return
            pause = 0.05
            self._sent(batch)
            if self._closing and not self._waiting:
                return
            if self._waiting:
                self._any.set()

    def _sent(self, batch: list[Event]) -> None:
        newest = batch[-1].id
        while self._waiting and self._waiting[0].id <= newest:
            self._bytes -= len(self._waiting.popleft().data)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but not longer."""
    if seconds <= 0 or event.is_set():
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
