"""Postgres, Valkey, workers and agent servers of one chaos run, and everything that can be done to them.

Each process reaches the database and Valkey over lines of its own (network.py), so that one can be cut off and others not.
"""

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

import httpx
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
from tests.chaos.network import Network
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
class Process:
    """One of ours, what it wrote, and its network."""

    process: asyncio.subprocess.Process
    log: Path
    network: Network

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
        await self.network.__aexit__()

    async def stop(self) -> None:
        """As a supervisor does; a worker drains."""
        self.process.terminate()
        async with asyncio.timeout(30):
            await self.process.wait()
        assert self.process.returncode == 0, self.log.read_text()
        await self.network.__aexit__()

    async def is_ready(self) -> bool:
        raise NotImplementedError

    async def until_ready(self) -> None:
        async with asyncio.timeout(60):
            while not await self.is_ready():
                assert self.alive, self.log.read_text()
                await asyncio.sleep(0.05)


class WorkerProcess(Process):
    """Executes runs."""

    @property
    def name(self) -> str:
        """As in `runs.worker`."""
        return f"{socket.gethostname()}:{self.process.pid}"

    async def is_ready(self) -> bool:
        return "is ready" in self.log.read_text()


@dataclass
class AgentServer(Process):
    """Answers HTTP."""

    url: str

    async def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{self.url}/ok")).status_code == 200
        return False


class Arena:
    """Use as an async context manager; ends what it started."""

    def __init__(self, folder: Path, *, servers: int = 0) -> None:
        self.folder = folder
        self._servers_wanted = servers
        settings = {"fsync": "on", "full_page_writes": "on", "max_connections": "90"}
        self.postgres = PostgresServer(durable=True, settings=settings)
        self.valkey = ValkeyServer(persistent=True)
        self.workers: list[WorkerProcess] = []
        self.servers: list[AgentServer] = []
        #: How often Valkey lost its memory, or may have lost the last of it: readers are told a gap then.
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
            self._exit.push_async_callback(self._end_processes)
            self.runs, self.threads, self.events = Runs(self.pool), Threads(self.pool), EventLog(client)
            self.saver = create_checkpointer(self.pool)
            await self.replace_dead()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def _end_processes(self) -> None:
        for process in (*self.workers, *self.servers):
            await process.kill()

    # -- processes -----------------------------------------------------------------------------------------------

    async def replace_dead(self) -> None:
        """Start workers and servers until there are as many as there were, and wait until they are ready."""
        self.workers = [worker for worker in self.workers if worker.alive]
        self.servers = [server for server in self.servers if server.alive]
        while len(self.workers) < WORKERS:
            self.workers.append(WorkerProcess(*await self._start("worker")))
        while len(self.servers) < self._servers_wanted:
            port = _free_port()
            self.servers.append(AgentServer(*await self._start("serve", "--port", str(port)), f"http://127.0.0.1:{port}"))
        await asyncio.gather(*(process.until_ready() for process in (*self.workers, *self.servers)))

    async def _start(self, *command: str) -> tuple[asyncio.subprocess.Process, Path, Network]:
        self._started += 1
        log = self.folder / f"{command[0]}-{self._started}.log"
        network = await Network(self.postgres.folder / ".s.PGSQL.5432", self.valkey.folder / "valkey.sock").__aenter__()
        environment = {
            **os.environ,
            "DATABASE_URL": self.database.app_url.replace("@/", f"@127.0.0.1:{network.postgres.port}/").partition("?")[0],
            "REDIS_URL": f"redis://127.0.0.1:{network.valkey.port}/0",
            "PYTHONWARNINGS": "default",
        }
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freehold", *command, cwd=self.folder, env=environment, stdout=out, stderr=out
            )
        return process, log, network

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
        if kill:  # while an fsync is under way it puts off writing its file, so that what it has confirmed can be lost with it
            self.valkey_losses += 1
        await asyncio.to_thread(self.valkey.stop, kill=kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.valkey.start)

    async def wipe_valkey(self) -> None:
        self.valkey_losses += 1
        async with redis.asyncio.Redis.from_url(self.valkey.url) as client:
            await client.flushall()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
