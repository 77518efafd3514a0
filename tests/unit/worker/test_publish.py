"""The event writer against a real Valkey that comes and goes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from tests.support.events import read
from tests.support.servers import ValkeyServer
from tests.unit.worker.test_execute import run

from freehold.core.event import START, Event, EventId
from freehold.core.run import Run
from freehold.events.log import EventLog, create_client
from freehold.worker import publish
from freehold.worker.publish import EventWriter


@pytest.fixture
async def events(valkey_url: str) -> AsyncIterator[EventLog]:
    client = create_client(valkey_url)
    yield EventLog(client)
    await client.aclose()


def claim(epoch: int) -> Run:
    return dataclasses.replace(run(), epoch=epoch)


async def test_events_are_numbered_within_the_claim_and_arrive_in_order(events: EventLog) -> None:
    async with EventWriter(events, claim(3), lambda: None) as writer:
        for number in range(100):
            writer.emit("custom", str(number).encode(), delta=number % 3 > 0)
    found = await read(events, run().run_id, START, block_ms=100)
    assert [event.data for event in found] == [str(number).encode() for number in range(100)]
    assert [event.id for event in found] == [EventId(3, number) for number in range(1, 101)]


async def test_the_first_delta_after_a_silence_goes_out_at_once_and_the_next_ones_with_what_cannot_wait(
    events: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "BATCH_SECONDS", 3600)
    async with EventWriter(events, claim(1), lambda: None) as writer:
        writer.emit("custom", b"first", delta=True)
        assert [event.data for event in await read(events, run().run_id, START, block_ms=10_000)] == [b"first"]
        writer.emit("custom", b"second", delta=True)
        assert await read(events, run().run_id, EventId(1, 1), block_ms=100) == []
        writer.emit("custom", b"third")
        assert await read(events, run().run_id, EventId(1, 2), block_ms=10_000)
    found = await read(events, run().run_id, EventId(1, 1), block_ms=100)
    assert [event.data for event in found] == [b"second", b"third"]


async def test_the_steps_of_a_quick_run_go_out_with_its_end(events: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "STEP_SECONDS", 3600)
    appended: list[list[str]] = []
    append = events.append

    async def noted(run_id: UUID, batch: Sequence[Event], **more: Any) -> None:
        appended.append([event.name for event in batch])
        await append(run_id, batch, **more)

    monkeypatch.setattr(events, "append", noted)
    async with EventWriter(events, claim(1), lambda: None) as writer:
        writer.emit("metadata", b"{}", with_next=True)
        writer.emit("values", b"{}")
        assert await read(events, run().run_id, START, block_ms=10_000)
        writer.emit("values", b"{}")
        writer.emit("updates", b"{}")
        assert await read(events, run().run_id, EventId(1, 2), block_ms=100) == []
        writer.end(b"{}")
    assert appended == [["metadata", "values"], ["values", "updates", "end"]]


async def test_what_goes_with_the_next_event_does_not_wait_for_ever(events: EventLog) -> None:
    async with EventWriter(events, claim(1), lambda: None) as writer:
        writer.emit("metadata", b"{}", with_next=True)
        found = await read(events, run().run_id, START, block_ms=10_000)
        assert [event.name for event in found] == ["metadata"]


async def test_a_claim_that_was_overtaken_is_told_and_writes_nothing(events: EventLog) -> None:
    async with EventWriter(events, claim(2), lambda: None) as later:
        later.emit("metadata", b"{}")
    lost: list[bool] = []
    async with EventWriter(events, claim(1), lambda: lost.append(True)) as stale:
        stale.emit("custom", b"1")
    assert lost == [True]
    assert [event.id for event in await read(events, run().run_id, START, block_ms=100)] == [EventId(2, 1)]


async def test_an_append_repeated_after_a_lost_answer_is_not_doubled(events: EventLog) -> None:
    async with EventWriter(events, claim(1), lambda: None) as writer:
        writer.emit("custom", b"1")
    batch = await read(events, run().run_id, START, block_ms=100)
    await events.append(run().run_id, batch)
    assert await read(events, run().run_id, START, block_ms=100) == batch


async def test_events_wait_while_valkey_is_away() -> None:
    server = ValkeyServer(persistent=True)
    client = None
    try:
        client = create_client(server.start().url)
        log = EventLog(client)
        async with EventWriter(log, claim(1), lambda: None) as writer:
            writer.emit("custom", b"before")
            await asyncio.sleep(0.1)
            server.stop()
            writer.emit("custom", b"while away")
            await asyncio.sleep(0.3)
            server.start()
            writer.emit("custom", b"after")
        assert [event.data for event in await read(log, run().run_id, START, block_ms=100)] == [b"before", b"while away", b"after"]
    finally:
        if client:
            await client.aclose()
        server.remove()


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "replica"],
)
async def test_events_wait_while_valkey_takes_nothing(refuse: tuple[str, ...], accept: tuple[str, ...]) -> None:
    server = ValkeyServer()
    client = create_client(server.start().url)
    try:
        log = EventLog(client)
        async with EventWriter(log, claim(1), lambda: None) as writer:
            writer.emit("custom", b"before")
            assert await read(log, run().run_id, START, block_ms=5000)
            await client.execute_command(*refuse)
            writer.emit("custom", b"refused")
            await asyncio.sleep(0.3)
            await client.execute_command(*accept)
            writer.end(b"the end")
        assert [event.data for event in await read(log, run().run_id, START, block_ms=100)] == [b"before", b"refused", b"the end"]
    finally:
        await client.aclose()
        server.remove()


async def test_while_valkey_is_away_those_that_may_not_linger_give_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "CLOSE_SECONDS", 3600)
    server = ValkeyServer()
    client = create_client(server.start().url)
    try:
        log = EventLog(client)
        async with asyncio.timeout(30), EventWriter(log, claim(1), lambda: None, may_linger=lambda: False) as writer:
            writer.emit("custom", b"before")
            assert await read(log, run().run_id, START, block_ms=5000)
            await asyncio.to_thread(server.stop)
            writer.end(b"the end")
            while not log.is_away:
                await asyncio.sleep(0.02)
    finally:
        await client.aclose()
        server.remove()


@pytest.mark.parametrize(("size", "seconds"), [(1000, 600), (1_100_000, 60)])
async def test_a_run_that_wrote_much_is_kept_for_a_shorter_time(events: EventLog, valkey_url: str, size: int, seconds: int) -> None:
    async with EventWriter(events, claim(1), lambda: None) as writer:
        writer.emit("values", b"x" * size)
        writer.end(b"{}")
    client = create_client(valkey_url)
    (key,) = await client.keys("*")
    assert seconds - 10 < await client.ttl(key) <= seconds
    await client.aclose()


async def test_more_than_the_buffer_holds_is_given_up_with_a_gap(events: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "BUFFER_BYTES", 10_000)
    async with EventWriter(events, claim(1), lambda: None) as writer:
        for number in range(20):  # no turn of the loop in between: nothing is sent yet
            writer.emit("custom", f"{number:04}".encode() * 250)
    found = await read(events, run().run_id, START, block_ms=100)
    assert found[0].name == "gap"
    assert found[-1].data.startswith(b"0019")
    assert [event.id for event in found] == sorted(event.id for event in found)
