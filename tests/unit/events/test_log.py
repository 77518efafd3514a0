"""The event log on a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from tests.support.events import read

from freehold.core.errors import LeaseLost
from freehold.core.event import START, Event, EventId
from freehold.events.log import CANCEL, WAKE, EventLog, create_client

RUN = UUID(int=7)


@pytest.fixture
async def log(valkey_url: str) -> AsyncIterator[EventLog]:
    client = create_client(valkey_url)
    yield EventLog(client)
    await client.aclose()


def event(epoch: int, seq: int, data: bytes = b"{}") -> Event:
    return Event(EventId(epoch, seq), "custom", data)


async def test_reading_after_an_id_gives_what_came_later_and_nothing_twice(log: EventLog) -> None:
    await log.append(RUN, [event(1, 1), event(1, 2), event(2, 1)])
    assert [found.id for found in await read(log, RUN, START, block_ms=50)] == [EventId(1, 1), EventId(1, 2), EventId(2, 1)]
    assert [found.id for found in await read(log, RUN, EventId(1, 1), block_ms=50)] == [EventId(1, 2), EventId(2, 1)]
    assert await read(log, RUN, EventId(2, 1), block_ms=50) == []


async def test_a_reader_that_waits_gets_the_event_when_it_comes(log: EventLog) -> None:
    waiting = asyncio.create_task(read(log, RUN, START, block_ms=10_000))
    await asyncio.sleep(0.05)
    await log.append(RUN, [event(1, 1, b"now")])
    assert [found.data for found in await waiting] == [b"now"]


async def test_a_stale_epoch_is_refused(log: EventLog) -> None:
    await log.append(RUN, [event(2, 1)])
    with pytest.raises(LeaseLost):
        await log.append(RUN, [event(1, 9)])


async def test_a_batch_repeated_after_a_lost_answer_asks_once_whose_the_events_are(log: EventLog, valkey_url: str) -> None:
    batch = [event(1, number) for number in range(1, 301)]
    await log.append(RUN, batch)
    client = create_client(valkey_url)
    await client.config_resetstat()
    await log.append(RUN, batch)
    assert (await client.info("commandstats"))["cmdstat_xrevrange"]["calls"] == 1
    await client.aclose()
    assert [found.id for found in await read(log, RUN, START, block_ms=50)] == [event.id for event in batch]


async def test_runs_do_not_see_each_other(log: EventLog) -> None:
    await log.append(RUN, [event(1, 1)])
    assert await read(log, UUID(int=8), START, block_ms=50) == []
    await log.append(UUID(int=8), [event(1, 2)])
    assert [found.id for found in await read(log, RUN, START, block_ms=50)] == [EventId(1, 1)]


async def test_a_closed_log_is_kept_for_a_while_and_then_goes(log: EventLog, valkey_url: str) -> None:
    await log.append(RUN, [event(1, 1)], close=True)
    client = create_client(valkey_url)
    (key,) = await client.keys("*")
    assert 0 < await client.ttl(key) <= 600
    await client.aclose()


async def test_a_log_nobody_closes_goes_in_the_end(log: EventLog, valkey_url: str) -> None:
    await log.append(RUN, [event(1, 1)])
    await log.append(RUN, [event(1, 2)])
    client = create_client(valkey_url)
    (key,) = await client.keys("*")
    assert 0 < await client.ttl(key) <= 7 * 86400
    await client.aclose()


async def test_wake_ups_and_cancellations_reach_those_who_listen(log: EventLog) -> None:
    heard: list[tuple[str, str]] = []

    async def listen() -> None:
        async with log.messages(WAKE, CANCEL) as messages:
            async for message in messages:
                heard.append(message)

    listening = asyncio.create_task(listen())
    while len(heard) < 2:
        await log.wake_workers()
        await log.announce_cancel(RUN)
        await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert {(WAKE, ""), (CANCEL, str(RUN))} <= set(heard)
