"""Connections over a network that falls silent: what is asked into the silence is given up, and comes through again afterwards."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from uuid import uuid4

import pytest
import uvloop
from redis.exceptions import TimeoutError as RedisTimeoutError

from freehold.core.event import START, Event, EventId
from freehold.events.log import EventLog, create_client
from freehold.storage.pool import connection, create_pool
from tests.chaos.arena import Arena
from tests.chaos.checker import check
from tests.chaos.harness import Seed
from tests.chaos.network import Line
from tests.chaos.scenario import ThreadPlan, request
from tests.conftest import Database
from tests.support.events import read
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


@pytest.mark.slow
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
            stored = await read(log, run, START, block_ms=10)
            await client.aclose()
            return [event.id.seq for event in stored]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(append_after_resets()) == list(range(1, 9))


async def lose_a_run_in_the_silence(seed: Seed) -> None:
    """The worker that holds the run hears nothing of the database until another one has it."""
    seed.begin(1)
    (thread,) = seed.threads
    async with asyncio.timeout(30):
        while not thread.runs or not await seed.arena.saver.aget_tuple(thread.config):
            await asyncio.sleep(0.02)
        worker = await seed.arena.holder(thread.runs[0].run_id)
        assert worker
        with worker.network.postgres.silent():
            while (progress := await seed.arena.runs.progress(thread.runs[0].run_id)) is None or progress.epoch < 2:
                await asyncio.sleep(0.05)
        while "lease_lost" not in worker.log.read_text():
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_worker_that_is_cut_off_loses_its_run_to_another_one_and_stores_nothing_late(tmp_path: Path) -> None:
    async with Arena(tmp_path) as arena:
        seed = Seed(arena, 1)
        plan = ThreadPlan("chain", (request("sync", seconds=0.8),), seconds=4)
        history = await seed.play([plan], lose_a_run_in_the_silence)
        assert check(history) == []
        progress = await arena.runs.progress(seed.threads[0].runs[0].run_id)
        assert progress and (progress.epoch, progress.attempt) == (2, 2)
