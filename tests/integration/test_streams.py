"""Many open streams over a real server: events appended straight to the log, clients that read, dawdle and leave."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis.asyncio as redis
from tests.api.serving import serving

from freehold.core.caller import LOCAL
from freehold.core.event import END, Event, EventId
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.events.log import EventLog, create_client
from freehold.storage.pool import create_pool
from freehold.storage.runs import Runs, Target

MEGABYTE = 1024 * 1024


class Client:
    """One stream as bytes; it takes little more from its socket than it is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ids(self, *, until: str) -> list[str]:
        """Ids of the events that come, up to and with this one."""
        found: list[str] = []
        async with asyncio.timeout(120):
            while not found or found[-1] != until:
                line = await self._reader.readline()
                assert line, "the stream ended early"
                if line.startswith(b"id: "):
                    found.append(line[4:].decode().strip())
        return found

    async def rest(self) -> bytes:
        async with asyncio.timeout(60):
            return await self._reader.read()

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Bench:
    """A server without a worker: the tests write the events themselves."""

    def __init__(self, url: str, runs: Runs, log: EventLog, valkey: redis.Redis) -> None:
        self.url = url
        self.runs = runs
        self.log = log
        self.valkey = valkey
        self._clients: list[Client] = []

    async def accept(self) -> Run:
        return (await self.runs.accept(LOCAL, Target(assistant_id("echo"), "echo"), RunRequest())).run

    async def open(self, run: Run, *, after: str = "") -> Client:
        where = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=MEGABYTE // 8)
        path = f"/threads/{run.thread_id}/runs/{run.run_id}/stream"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nLast-Event-ID: {after}\r\nConnection: close\r\n\r\n".encode())
        assert b"200" in await reader.readline()
        client = Client(reader, writer)
        self._clients.append(client)
        return client

    async def append(self, run: Run, first: int, last: int, *, data: bytes = b"{}", end: bool = False) -> None:
        events = [Event(EventId(1, seq), "custom", data) for seq in range(first, last + 1)]
        if end:
            events.append(Event(EventId(1, last + 1), END, b'{"status":"success","error":null,"interrupts":[],"values":null}'))
        await self.log.append(run.run_id, events, close=end)

    async def open_streams(self) -> int:
        async with httpx.AsyncClient(base_url=self.url) as http:
            found = re.search(r"^freehold_open_streams(?:\{.*\})? ([0-9.]+)$", (await http.get("/metrics")).text, re.MULTILINE)
        assert found
        return int(float(found[1]))

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(60):
            while await self.open_streams() != count:
                await asyncio.sleep(0.05)

    async def until_watched(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(await self.valkey.pubsub_channels("freehold:run:*")) != count:
                await asyncio.sleep(0.05)

    async def connections(self) -> int:
        return len(await self.valkey.client_list())

    async def leave(self) -> None:
        for client in self._clients:
            await client.leave()


@pytest.fixture
def server_url(database_url: str, valkey_url: str) -> Iterator[str]:
    with serving(database_url, valkey_url, worker=False) as url:
        yield url


@pytest.fixture
async def bench(server_url: str, database_url: str, valkey_url: str) -> AsyncIterator[Bench]:
    async with opened(server_url, database_url, valkey_url) as bench:
        yield bench


@asynccontextmanager
async def opened(url: str, database_url: str, valkey_url: str) -> AsyncIterator[Bench]:
    client = create_client(valkey_url)
    async with create_pool(database_url, max_size=4) as pool:
        bench = Bench(url, Runs(pool), EventLog(client), client)
        try:
            yield bench
        finally:
            await bench.leave()
            await client.aclose()


async def test_three_hundred_streams_get_every_event_over_as_many_valkey_connections_as_ten(bench: Bench) -> None:
    runs = [await bench.accept() for _ in range(300)]
    clients = [await bench.open(run) for run in runs[:10]]
    await bench.until_watched(10)
    for run in runs[:10]:
        await bench.append(run, 1, 1)
    with_ten = await bench.connections()
    clients += [await bench.open(run) for run in runs[10:]]
    await bench.until_watched(300)
    assert await bench.open_streams() == 300
    for run in runs[10:]:
        await bench.append(run, 1, 1)
    for seq in range(2, 6):
        for run in runs:
            await bench.append(run, seq, seq)
    assert await bench.connections() < with_ten + 10
    for run in runs:
        await bench.append(run, 6, 6, end=True)
    for client in clients:
        assert await client.ids(until="1-6") == [f"1-{seq}" for seq in range(1, 7)]
    await bench.until_open(0)
    await bench.until_watched(0)


async def test_clients_that_leave_are_forgotten(bench: Bench) -> None:
    run = await bench.accept()
    clients = [await bench.open(run) for _ in range(20)]
    await bench.append(run, 1, 1)
    for client in clients:
        assert await client.ids(until="1-1") == ["1-1"]
    assert await bench.open_streams() == 20
    for client in clients[1:]:
        await client.leave()
    await bench.until_open(1)
    await bench.append(run, 2, 2, end=True)
    assert await clients[0].ids(until="1-2") == ["1-2"]
    assert await clients[0].rest() is not None
    await bench.until_open(0)
    await bench.until_watched(0)


async def test_two_clients_of_one_run_each_go_on_from_where_they_were(bench: Bench) -> None:
    run = await bench.accept()
    await bench.append(run, 1, 10)
    whole, joined = await bench.open(run), await bench.open(run, after="1-7")
    await bench.append(run, 11, 15, end=True)
    assert await whole.ids(until="1-15") == [f"1-{seq}" for seq in range(1, 16)]
    assert await joined.ids(until="1-15") == [f"1-{seq}" for seq in range(8, 16)]


async def test_clients_that_do_not_read_hold_up_nobody_and_cost_no_memory(bench: Bench) -> None:
    run = await bench.accept()
    dawdling = [await bench.open(run) for _ in range(30)]
    prompt = await bench.open(run)
    await bench.until_open(31)
    before = psutil.Process(os.getpid()).memory_info().rss
    reading = asyncio.create_task(prompt.ids(until="1-300"))
    for seq in range(1, 300, 10):
        await bench.append(run, seq, seq + 9, data=b'"%s"' % (b"x" * 100_000))
    await bench.append(run, 301, 301, end=True)
    assert await reading == [f"1-{seq}" for seq in range(1, 301)]
    grown = psutil.Process(os.getpid()).memory_info().rss - before
    assert grown < 200 * MEGABYTE, "30 clients have 30 MB each to come"
    for client in dawdling:
        assert await client.ids(until="1-301") == [f"1-{seq}" for seq in range(1, 302)]


async def test_a_client_that_leaves_while_it_is_being_sent_to_is_forgotten(bench: Bench) -> None:
    run = await bench.accept()
    client = await bench.open(run)
    await bench.append(run, 1, 200, data=b'"%s"' % (b"x" * 100_000))  # more than fits on the way
    await bench.until_watched(1)
    await client.leave()
    await bench.until_open(0)
    await bench.until_watched(0)
