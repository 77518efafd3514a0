"""A thread as one stream of server-sent events: its runs one after the other, and the states written by hand between them.

Ids are `{number on the thread}-{stamp of the last written state}`: where a client is in both, so that it goes on exactly there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from redis.exceptions import RedisError

from freehold.core import sequence
from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import LeaseLost
from freehold.core.event import Event, EventId
from freehold.server import sse
from freehold.server.parts import ServerParts
from freehold.server.streaming import Silence
from freehold.server.thread_follow import METADATA, ThreadFollower, Told
from freehold.server.wire.streams import ThreadStreamMode, as_classic

STATE_UPDATE = "state_update"

#: How long one look for a written state waits.
LOOK_SECONDS = 5.0
AWAY_SECONDS = 0.5


async def announce_state(parts: ServerParts, thread_id: UUID, state: object) -> None:
    """Tell those who watch a thread that its state was written by hand. What is lost here can be read from the thread."""
    data = to_json({"state": state})
    for _ in range(3):
        stamp = sequence.microseconds(await parts.thread_runs.clock())
        try:
            await parts.events.append(thread_id, [Event(EventId(stamp, 0), STATE_UPDATE, data)], close=True)
            return
        except LeaseLost:
            continue  # another was written in the same moment
        except RedisError:
            return


class ThreadStream:
    """What one client sees of a thread.

    Args:
        cursor: both numbers of the last id it has.
        from_the_start: show what is kept of runs that have ended, too.
    """

    def __init__(
        self,
        parts: ServerParts,
        caller: Caller,
        thread_id: UUID,
        modes: frozenset[ThreadStreamMode],
        cursor: tuple[int, int],
        *,
        from_the_start: bool = False,
    ) -> None:
        self._parts = parts
        self._thread_id = thread_id
        self._modes = modes
        self._number, self._stamp = cursor
        self._follower = ThreadFollower(parts, caller, thread_id, since=self._number, replay=from_the_start)
        self._from_the_start = from_the_start
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)

    async def open(self) -> ThreadStream:
        """Decide where it begins. Raises NotFound, StorageUnavailable."""
        self._number = await self._follower.open()
        if not self._stamp and not self._from_the_start:
            self._stamp = sequence.microseconds(await self._parts.thread_runs.clock())
        return self

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events, and heartbeats."""
        tasks = [asyncio.create_task(self._put_runs(), name=f"thread-runs-{self._thread_id}")]
        if STATE_UPDATE in self._modes:
            tasks.append(asyncio.create_task(self._put_states(), name=f"thread-states-{self._thread_id}"))
        try:
            while (piece := await self._pieces.get()) is not None:
                yield piece
            await tasks[0]  # its error, if it failed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _put_runs(self) -> None:
        try:
            silence = Silence()
            async with aclosing(self._follower.told()) as told:
                async for some in told:
                    piece = self._shown(some) if some else b""
                    if piece:
                        silence.broken()
                        await self._pieces.put(piece)
                    elif silence.too_long():
                        await self._pieces.put(sse.HEARTBEAT)
        finally:
            await self._pieces.put(None)

    def _shown(self, some: Told) -> bytes:
        frames = []
        for number, event in some.events:
            told = as_classic(event)
            if told and ("run_modes" in self._modes or (event.name == METADATA and "lifecycle" in self._modes)):
                self._number = number
                frames.append(self._frame(told.name, told.data))
        if some.ending:
            self._number = some.number
            frames.append(self._frame(METADATA, to_json({"status": "run_done", "run_id": some.run.run_id})))
        return b"".join(frames) if self._modes & {"run_modes", "lifecycle"} else b""

    async def _put_states(self) -> None:
        with self._parts.reader.watch(self._thread_id) as watch:
            while True:
                try:
                    found = await watch.read(EventId(self._stamp, 0), seconds=LOOK_SECONDS)
                except (RedisError, TimeoutError):
                    await asyncio.sleep(AWAY_SECONDS)
                    continue
                for event in found:
                    self._stamp = event.id.epoch
                    await self._pieces.put(self._frame(event.name, event.data))

    def _frame(self, name: str, data: bytes) -> bytes:
        return sse.frame(name, data, f"{self._number}-{self._stamp}")
