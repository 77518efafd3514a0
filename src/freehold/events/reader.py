"""One reader for all streams a process has open, because a connection for each would cost Valkey and us a connection a client.

                    ┌─ "this run was written to" ──► stirs the watches of that run
    Valkey ─────────┤
                    └─ events after an id ◄────────── what the stirred watches ask for, one round trip for all of them

Two connections, however many watch. A writer appends and then publishes on a channel named like the stream; what is not
watched is not heard. A watch keeps no events: it asks for what follows the last id it gave away, when its client has
taken that. So a slow client costs nothing but its place in Valkey, and watches at the same place share one read.

Blocking in one XREAD on all streams instead makes every event cost as much as there are streams: with 1000 of them, one
event a second each, that took six times the CPU and ten times as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import Any
from uuid import UUID

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from freehold.core.event import END, Event, EventId
from freehold.events.log import ENDED, WAKE, Ask, EventLog, stream_key

log = logging.getLogger(__name__)

#: A reply that takes longer than this will not come: a network that swallows packets says nothing.
HUNG_SECONDS = 5.0

#: Seconds between attempts to listen again.
PAUSE_SECONDS = 0.5

#: Asks that share one round trip.
ASKS_A_ROUND = 64

#: Events a watch asks for at first and at most; between, as many as are likely to be this many bytes.
FIRST_COUNT = 8
MOST_COUNT = 512
READ_BYTES = 256 * 1024

#: Channels subscribed to or left in one command.
CHANNELS_A_COMMAND = 500

#: A thread's id as it is published; workers are also woken for no thread in particular.
_UUID_TEXT = 36

#: A question under way and where its answer comes.
Asked = tuple[Ask, asyncio.Future[list[Event]]]


class Watch:
    """One follower's place at one run. Made by `EventReader.watch`; leaving its `with` block is all the tidying there is.

    One for `end_only` reads nothing but the last event of a run, once it is there: whoever waits for a result needs no more.
    """

    def __init__(self, reader: EventReader, run_id: UUID, *, end_only: bool) -> None:
        self.run_id = run_id
        self.end_only = end_only
        self._reader = reader
        self._stirred = asyncio.Event()
        self._count = FIRST_COUNT
        self.stir()  # what is there already is read at once

    def __enter__(self) -> Watch:
        self._reader.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.leave(self)

    def stir(self) -> None:
        """There may be something to read."""
        self._stirred.set()

    async def stirred(self) -> None:
        """Wait until there may be something to read."""
        await self._stirred.wait()

    async def read(self, after: EventId, *, seconds: float) -> list[Event]:
        """Events after an id, oldest first; waits up to `seconds` for the first one. Do not change the list, others read it too.

        Raises:
            redis.exceptions.RedisError, TimeoutError: Valkey is away or does not answer; ask again later.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self._stirred.is_set() or await self._wait(until - clock()):
            self._stirred.clear()
            try:
                found, count = await self._reader.ask(Ask(self.run_id, after, self._count, newest=self.end_only))
            except (RedisError, TimeoutError):
                self.stir()
                raise
            if self.end_only:
                found = [event for event in found if event.name == END and event.id > after]
                if found:
                    return found
            elif found:
                if len(found) >= count:
                    self.stir()  # there is more
                self._count = max(1, min(MOST_COUNT, READ_BYTES // max(len(event.data) + 1 for event in found)))
                return found
        return []

    async def _wait(self, seconds: float) -> bool:
        if seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True


class Bell:
    """Rings when a run was accepted on a thread. Made by `EventReader.bell`; leaving its `with` block is all the tidying there is."""

    def __init__(self, reader: EventReader, thread_id: UUID) -> None:
        self.thread_id = thread_id
        self._reader = reader
        self._rung = asyncio.Event()

    def __enter__(self) -> Bell:
        self._reader.hang(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.take_down(self)

    def ring(self) -> None:
        """There may be a run."""
        self._rung.set()

    async def rung(self, seconds: float) -> bool:
        """Wait until it rings, or not longer than that; then it is silent again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        heard = self._rung.is_set()
        self._rung.clear()
        return heard


class EventReader:
    """Reads for all watches of this process. One per server process; open it with `async with`."""

    def __init__(self, events: EventLog, client: redis.Redis) -> None:
        self._events = events
        self._client = client
        #: Channel -> who watches it.
        self._watches: dict[bytes, set[Watch]] = {}
        #: Thread -> who waits for its runs.
        self._bells: dict[UUID, set[Bell]] = {}
        self._asked: dict[tuple[UUID, EventId, bool], Asked] = {}
        self._any_asked = asyncio.Event()
        self._listening: AbstractConnection | None = None
        #: Channels the listening connection was told to hear, or is being told.
        self._heard: set[bytes] = set()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> EventReader:
        loops = (self._listen_for_ever, self._subscribe_for_ever, self._read_for_ever)
        self._tasks = [asyncio.create_task(loop(), name=f"events{loop.__name__}") for loop in loops]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pending = set(self._tasks)
        while pending:  # more than once: asyncio.wait_for, which the client uses, can swallow a cancellation before Python 3.12
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        for _, answer in self._asked.values():
            answer.cancel()

    @property
    def watched(self) -> int:
        """How many runs are being watched."""
        return len(self._watches)

    def watch(self, run_id: UUID, *, end_only: bool = False) -> Watch:
        """A place at a run's stream: `with reader.watch(run_id) as watch: await watch.read(after, seconds=1)`."""
        return Watch(self, run_id, end_only=end_only)

    def bell(self, thread_id: UUID) -> Bell:
        """A bell for a thread: `with reader.bell(thread_id) as bell: await bell.rung(5)`."""
        return Bell(self, thread_id)

    @property
    def threads(self) -> Collection[UUID]:
        """Threads somebody waits for."""
        return self._bells.keys()

    def ring(self, thread_id: UUID) -> None:
        """Ring the bells of a thread."""
        for bell in self._bells.get(thread_id, ()):
            bell.ring()

    # -- for bells -----------------------------------------------------------------------------------------------

    def hang(self, bell: Bell) -> None:
        """From now on it rings."""
        self._bells.setdefault(bell.thread_id, set()).add(bell)
        if len(self._bells) == 1:
            self._changed.set()

    def take_down(self, bell: Bell) -> None:
        """Forget a bell; without any, what workers are woken with is not heard."""
        bells = self._bells[bell.thread_id]
        bells.discard(bell)
        if not bells:
            del self._bells[bell.thread_id]
        if not self._bells:
            self._changed.set()

    # -- for watches ---------------------------------------------------------------------------------------------

    def enter(self, watch: Watch) -> None:
        """From now on the watch is stirred when its run is written to."""
        watches = self._watches.setdefault(stream_key(watch.run_id).encode(), set())
        watches.add(watch)
        if len(watches) == 1:
            self._changed.set()

    def leave(self, watch: Watch) -> None:
        """Forget a watch, and its run with the last one."""
        channel = stream_key(watch.run_id).encode()
        watches = self._watches[channel]
        watches.discard(watch)
        if not watches:
            del self._watches[channel]
            self._changed.set()

    async def ask(self, ask: Ask) -> tuple[list[Event], int]:
        """What there is now, and how many events were asked for: another watch may have asked first. Raises as `Watch.read` does."""
        place = (ask.run_id, ask.after, ask.newest)
        if place not in self._asked:
            self._asked[place] = (ask, asyncio.get_running_loop().create_future())
            self._any_asked.set()
        asked, answer = self._asked[place]
        return await asyncio.shield(answer), asked.count  # one that leaves does not take it from the others

    # -- hearing which runs were written to ----------------------------------------------------------------------

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, TimeoutError, OSError) as error:
                log.info("not listening for events: %s", error, extra={"action": "events_not_heard"})
            except Exception:
                # The top of a loop that must not end while the process lives: streams would only crawl.
                log.exception("listening for events failed; it is tried again", extra={"action": "events_listen_failed"})
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        """The life of one connection, which ends with an error."""
        pool = self._client.connection_pool
        async with asyncio.timeout(HUNG_SECONDS):
            connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            self._listening = connection
            self._heard = set()
            self._changed.set()
            asked_for_life = False
            while True:
                message = await connection.read_response(timeout=HUNG_SECONDS, disconnect_on_error=False, push_request=True)
                if message is not None:
                    asked_for_life = False
                    self._pass_on(message)
                elif asked_for_life:
                    raise TimeoutError("Valkey does not answer")
                else:
                    asked_for_life = True
                    await connection.send_command("PING", check_health=False)
        finally:
            self._listening = None
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    def _pass_on(self, message: object) -> None:
        """A confirmed subscription stirs as well: what was written before it was not heard."""
        if not isinstance(message, list) or len(message) != 3 or message[0] not in (b"message", b"subscribe"):
            return
        if message[1] == WAKE.encode():
            self._pass_on_wake(message)
        else:
            may_be_over = message[0] == b"subscribe" or message[2] == ENDED
            for watch in self._watches.get(message[1], ()):
                if may_be_over or not watch.end_only:
                    watch.stir()

    def _pass_on_wake(self, message: list[Any]) -> None:
        if message[0] == b"subscribe":  # what was accepted before it was not heard
            for thread_id in list(self._bells):
                self.ring(thread_id)
        elif len(message[2]) == _UUID_TEXT:
            self.ring(UUID(message[2].decode()))

    async def _subscribe_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            connection = self._listening
            if connection is None:
                continue  # a new connection is told everything
            heard, self._heard = self._heard, {*self._watches, *((WAKE.encode(),) if self._bells else ())}
            try:
                async with asyncio.timeout(HUNG_SECONDS):
                    await _tell(connection, "UNSUBSCRIBE", heard - self._heard)
                    await _tell(connection, "SUBSCRIBE", self._heard - heard)
            except (RedisError, TimeoutError, OSError):
                await connection.disconnect(nowait=True)  # the listening loop notices and begins anew

    # -- reading what was written --------------------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        while True:
            await self._any_asked.wait()
            asked = [self._asked.pop(place) for place in list(self._asked)[:ASKS_A_ROUND]]
            if not self._asked:
                self._any_asked.clear()
            await self._answer(asked)

    async def _answer(self, asked: list[Asked]) -> None:
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                answers = await self._events.read_many([ask for ask, _ in asked])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told; nobody else could be
            for _, answer in asked:
                answer.set_exception(error)
                answer.exception()  # all of them may have left; that is no news
        else:
            for (_, answer), found in zip(asked, answers, strict=True):
                answer.set_result(found)
        finally:
            for _, answer in asked:
                answer.cancel()  # does something only where the reader is closed meanwhile


async def _tell(connection: AbstractConnection, command: str, channels: set[bytes]) -> None:
    told = list(channels)
    for start in range(0, len(told), CHANNELS_A_COMMAND):
        await connection.send_command(command, *told[start : start + CHANNELS_A_COMMAND], check_health=False)
