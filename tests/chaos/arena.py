"""Postgres, Valkey and worker processes of one chaos run, and everything that can be done to them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psycopg
import redis.asyncio
from psycopg.rows import DictRow, dict_row

from freehold.core.errors import StorageUnavailable
from freehold.events.log import EventLog, create_client
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.migrate import migrate, provision
from freehold.storage.pool import SCHEMA, create_pool
from freehold.storage.runs import Runs
from freehold.storage.threads import Threads
from tests.conftest import Database, make_database
from tests.support.servers import PostgresServer, ValkeyServer

PROJECT = Path(__file__).parent / "project" / "langgraph.json"

LEASE_SECONDS = 2.0

#: No run is given up because chaos took its workers: every one has to come to its own end.
CONFIG = f"""
[agents]
config = "{PROJECT}"
[worker]
lease_seconds = {LEASE_SECONDS:g}
drain_seconds = 2
max_attempts = 1000
"""

WORKERS = 2

T = TypeVar("T")

#: What our own statements raise while Postgres is being restarted or their connection was ended.
AWAY = (StorageUnavailable, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass
class WorkerProcess:
    """A worker and what it wrote."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def name(self) -> str:
        """As in `runs.worker`."""
        return f"{socket.gethostname()}:{self.process.pid}"

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def until_ready(self) -> None:
        async with asyncio.timeout(60):
            while "is ready" not in self.log.read_text():
                assert self.alive, self.log.read_text()
                await asyncio.sleep(0.05)


class Arena:
    """Use as an async context manager; ends what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer(durable=True, settings={"fsync": "on", "full_page_writes": "on"})
        self.valkey = ValkeyServer(persistent=True)
        self.workers: list[WorkerProcess] = []
        #: How often Valkey lost its memory: readers are told a gap then.
        self.valkey_losses = 0
        self._started = 0
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Arena:
        self._exit.callback(self.valkey.remove)
        self._exit.callback(self.postgres.remove)
        try:
            self.postgres.create()
            self.valkey.start()
            self.database: Database = make_database(self.postgres, "chaos")
            urls = {"owner_url": self.database.owner_url, "app_url": self.database.app_url}
            await provision(self.postgres.url("postgres"), reader_url=None, **urls)
            await migrate(self.database.owner_url, app_role="freehold_app")
            (self.folder / "freehold.toml").write_text(CONFIG)
            self.pool = await self._exit.enter_async_context(create_pool(self.database.app_url, max_size=10, name="chaos"))
            client = create_client(self.valkey.url)
            self._exit.push_async_callback(client.aclose)
            self._exit.push_async_callback(self._end_workers)
            self.runs, self.threads, self.events = Runs(self.pool), Threads(self.pool), EventLog(client)
            self.saver = create_checkpointer(self.pool)
            await self.replace_workers()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def _end_workers(self) -> None:
        for worker in self.workers:
            await worker.kill()

    # -- workers -------------------------------------------------------------------------------------------------

    async def replace_workers(self) -> None:
        """Start workers until there are `WORKERS` again, and wait until they are ready."""
        self.workers = [worker for worker in self.workers if worker.alive]
        while len(self.workers) < WORKERS:
            self.workers.append(await self._start_worker())
        await asyncio.gather(*(worker.until_ready() for worker in self.workers))

    async def _start_worker(self) -> WorkerProcess:
        self._started += 1
        log = self.folder / f"worker-{self._started}.log"
        environment = {**os.environ, "DATABASE_URL": self.database.app_url, "REDIS_URL": self.valkey.url, "PYTHONWARNINGS": "default"}
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freehold", "worker", cwd=self.folder, env=environment, stdout=out, stderr=out
            )
        return WorkerProcess(process, log)

    async def holder(self, run_id: UUID) -> WorkerProcess | None:
        """The worker that holds a run now."""
        async with self.admin() as conn:
            row = await (await conn.execute("SELECT worker FROM runs WHERE run_id = %s AND status = 'running'", (run_id,))).fetchone()
        # A worker names itself by host, process and a random part.
        return next((worker for worker in self.workers if row and row["worker"].rpartition(":")[0] == worker.name), None)

    # -- database ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """A connection of the superuser."""
        options = f"-c search_path={SCHEMA},public"
        async with await psycopg.AsyncConnection.connect(
            self.database.superuser_url, autocommit=True, row_factory=dict_row, options=options, application_name="chaos"
        ) as conn:
            yield conn

    async def patiently(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat what may be repeated until Postgres is back."""
        async with asyncio.timeout(60):
            while True:
                with suppress(*AWAY):
                    return await operation()
                await asyncio.sleep(0.1)

    async def end_backends(self, share: float, pick: Callable[[], float]) -> int:
        """pg_terminate_backend for a share of the connections of workers and of ours."""
        async with self.admin() as conn:
            found = await (
                await conn.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
                )
            ).fetchall()
            ended = [row["pid"] for row in found if pick() < share]
            await conn.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (ended,))
        return len(ended)

    async def restart_postgres(self, *, kill: bool) -> None:
        await asyncio.to_thread(self.postgres.stop, kill=kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.postgres.start)

    # -- Valkey --------------------------------------------------------------------------------------------------

    async def restart_valkey(self, *, kill: bool) -> None:
        await asyncio.to_thread(self.valkey.stop, kill=kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.valkey.start)

    async def wipe_valkey(self) -> None:
        self.valkey_losses += 1
        async with redis.asyncio.Redis.from_url(self.valkey.url) as client:
            await client.flushall()
