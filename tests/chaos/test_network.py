"""Connections over a network that falls silent: what is asked into the silence is given up, and comes through again afterwards."""

from __future__ import annotations

import asyncio
import socket
from uuid import uuid4

import pytest
import uvloop
from redis.exceptions import TimeoutError as RedisTimeoutError

from freehold.core.event import START, Event, EventId
from freehold.events.log import EventLog, create_client
from freehold.storage.pool import connection, create_pool
from tests.chaos.network import Line
from tests.conftest import Database
from tests.support.servers import PostgresServer, ValkeyServer


async def test_the_kernel_gives_up_a_database_that_acknowledges_nothing(postgres: PostgresServer, database: Database) -> None:
    async with Line(postgres.folder / ".s.PGSQL.5432") as line:
        url = database.app_url.replace("@/", f"@127.0.0.1:{line.port}/").partition("?")[0]
        async with create_pool(url, max_size=1) as pool, connection(pool) as conn:
            with socket.socket(fileno=conn.fileno()) as sock:
                assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
                sock.detach()


async def test_a_command_to_a_silent_valkey_is_given_up_and_the_next_one_comes_through(valkey: ValkeyServer) -> None:
    async with Line(valkey.folder / "valkey.sock") as line:
        client = create_client(f"redis://127.0.0.1:{line.port}/0")
        try:
            log = EventLog(client)
            await log.ping()
            with line.silent(), pytest.raises(RedisTimeoutError):
                await log.ping()
            await log.ping()
        finally:
            await client.aclose()


def test_an_append_after_a_reset_goes_over_a_new_connection_on_the_loop_of_workers_and_servers(valkey: ValkeyServer) -> None:
    async def append_after_resets() -> list[int]:
        async with Line(valkey.folder / "valkey.sock") as line:
            client = create_client(f"redis://127.0.0.1:{line.port}/0")
            log, run = EventLog(client), uuid4()
            for seq in range(1, 9):
                await log.append(run, [Event(EventId(1, seq), "custom", b"{}")])
                line.reset()
                for _ in range(seq % 4):  # so that the loop has heard of it, or has not
                    await asyncio.sleep(0)
            stored = await log.read(run, START, block_ms=10)
            await client.aclose()
            return [event.id.seq for event in stored]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(append_after_resets()) == list(range(1, 9))
