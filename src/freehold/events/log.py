"""The event log of a run: a Valkey stream whose ids we choose, so order and fencing are Valkey's own.

Ids are `{epoch}-{seq}`. Valkey refuses an id that is not above the last one, so a worker that lost its run cannot append
once the next one has begun. The log is only for those who watch: what must survive is in Postgres, and everything here
works again, with a `gap` told to the reader, when Valkey comes back empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from freehold.core.errors import LeaseLost
from freehold.core.event import Event, EventId

#: Seconds a finished run's events can still be joined; as long as LangGraph's own servers keep them, and then some.
KEEP_SECONDS = 600

#: Seconds an unfinished run's events survive without any append, so nothing stays for ever.
IDLE_SECONDS = 7 * 86400

#: An append renews the time its run's events survive once in so many events; each time would be a command an append more.
RENEW_EVERY = 256

#: Channels on which workers are woken and told of cancellations. Losing a message costs a poll interval, never a run.
WAKE = "freehold:wake"
CANCEL = "freehold:cancel"

#: What is published where the last event of a run was appended; else nothing.
ENDED = b"end"

#: A stream entry as the client gives it: id and fields.
Entry = tuple[bytes, dict[bytes, bytes]]

#: What is raised while Valkey is away, or takes nothing.
UNREACHABLE = (RedisConnectionError, RedisTimeoutError)


@dataclass(frozen=True)
class Ask:
    """At most `count` events of a run after an id; or its `newest` one, whatever the id."""

    run_id: UUID
    after: EventId
    count: int
    newest: bool = False


def stream_key(run_id: UUID) -> str:
    """Name of a run's stream, and of the channel that says it was written to."""
    return f"freehold:run:{run_id}"


class _Sending:
    """For a connection class of the client's. Under uvloop, writing to a connection that was reset raises a RuntimeError, which neither
    the client nor we would take for a server that is away."""

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        try:
            await cast(Any, super()).send_packed_command(*arguments, **options)
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection was closed: {error}") from error


def create_client(url: str) -> redis.Redis:
    """A client with a bounded pool that reconnects by itself; `unix:///path.sock` or `redis://host:port/db`."""
    client = redis.Redis.from_url(
        url,
        max_connections=4096,
        socket_connect_timeout=5,
        socket_timeout=5,  # longer than any answer takes; one that waits for events says how long
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        retry_on_error=[RedisConnectionError],
    )
    kind = client.connection_pool.connection_class
    client.connection_pool.connection_class = type(kind.__name__, (_Sending, kind), {})
    return client


class EventLog:
    """Appends and reads the events of runs. One per process."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        #: Whether Valkey was away, or took nothing, when the last append was tried.
        self.is_away = False

    async def append(self, run_id: UUID, events: Sequence[Event], *, close: bool = False, keep_seconds: int = KEEP_SECONDS) -> None:
        """Append events in order and tell those who watch, in one round trip.

        Args:
            close: the run has ended.
            keep_seconds: how long its events are kept from then on.

        Raises:
            LeaseLost: a later epoch has written already.
            redis.exceptions.ConnectionError: Valkey is away or takes nothing; the caller may try the same events again.
        """
        try:
            await self._append(run_id, events, keep_seconds if close else None)
        except UNREACHABLE:
            self.is_away = True
            raise
        self.is_away = False

    async def _append(self, run_id: UUID, events: Sequence[Event], keep_seconds: int | None) -> None:
        key = stream_key(run_id)
        async with self._client.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd(key, {"n": event.name, "d": event.data}, id=str(event.id))
            pipe.publish(key, b"" if keep_seconds is None else ENDED)
            if keep_seconds is not None or any(event.id.seq % RENEW_EVERY == 1 for event in events):
                pipe.expire(key, IDLE_SECONDS if keep_seconds is None else keep_seconds)
            results = await pipe.execute(raise_on_error=False)
        repeated = False
        for result in results:
            if isinstance(result, ResponseError) and "equal or smaller" in str(result):
                repeated = True
            elif isinstance(result, Exception):
                raise await self._may_pass(result)
        if repeated:
            await self._check_own(key, events[-1].id)

    async def _may_pass(self, error: Exception) -> Exception:
        """The error to raise: a server that is full, or that cannot write its disk, is like one that is away."""
        if isinstance(error, ReadOnlyError):  # a replica since a failover: whoever took over is reached by connections made from now on
            await self._client.connection_pool.disconnect(inuse_connections=False)
        elif not isinstance(error, OutOfMemoryError) and not str(error).startswith("MISCONF"):
            return error
        return RedisConnectionError(f"Valkey takes nothing: {error}")

    async def _check_own(self, key: str, newest_id: EventId) -> None:
        """An append repeated after a lost connection is ours already; one behind a later epoch is fenced."""
        newest = cast(list[Entry], await self._client.xrevrange(key, count=1))
        if newest and _event(newest[0]).id.epoch > newest_id.epoch:
            raise LeaseLost("a later attempt of this run is writing events")

    async def read_many(self, asks: Sequence[Ask]) -> list[list[Event]]:
        """What there is for each ask, possibly nothing, in one round trip."""
        async with self._client.pipeline(transaction=False) as pipe:
            for ask in asks:
                if ask.newest:
                    pipe.xrevrange(stream_key(ask.run_id), count=1)
                else:
                    pipe.xread({stream_key(ask.run_id): str(ask.after)}, count=ask.count)
            replies = await pipe.execute()
        return [[_event(entry) for entry in reply] if ask.newest else _events(reply) for ask, reply in zip(asks, replies, strict=True)]

    async def delete(self, run_id: UUID) -> None:
        """Forget a run's events."""
        await self._client.delete(stream_key(run_id))

    async def wake_workers(self, thread_id: UUID | None = None) -> None:
        """Tell workers that there is something to claim, and those who watch that thread of its run; polling makes up for a lost call."""
        await self._publish(WAKE, str(thread_id or ""))

    async def announce_cancel(self, run_id: UUID) -> None:
        """Tell the worker that holds a run to look at it at once; lease renewal makes up for a lost call."""
        await self._publish(CANCEL, str(run_id))

    async def _publish(self, channel: str, text: str) -> None:
        try:
            await self._client.publish(channel, text)
        except RedisError:
            return  # only speed is lost

    @asynccontextmanager
    async def messages(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
        """Messages on channels as (channel, text), for as long as the context is open; reconnects by itself."""
        yield self._listen(channels)

    async def _listen(self, channels: tuple[str, ...]) -> AsyncIterator[tuple[str, str]]:
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(*channels)
                    while True:
                        message = await pubsub.get_message(timeout=20)
                        if message:
                            yield message["channel"].decode(), message["data"].decode()
            except UNREACHABLE:
                await asyncio.sleep(0.5)

    async def ping(self) -> None:
        """Raises a RedisError when Valkey is away."""
        await self._client.ping()


def _events(reply: object) -> list[Event]:
    found = cast(Sequence[tuple[bytes, list[Entry]]], reply or ())
    return [_event(entry) for _, entries in found for entry in entries]


def _event(entry: Entry) -> Event:
    identifier, fields = entry
    return Event(EventId.parse(identifier.decode()), fields[b"n"].decode(), fields[b"d"])
