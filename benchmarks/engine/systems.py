"""The systems that are compared, each started the way its own documentation says and each with a database of its own.

All share one PostgreSQL (fsync and synchronous_commit on) and one Valkey (append-only file, fsync every second). Peers live
in environments of their own in the user's cache and are run as programs; nothing of them is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from benchmarks.engine.client import KEY
from benchmarks.engine.floor import AGENT
from tests.conftest import Database, make_database
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.config.paths import cache
from freehold.storage.migrate import migrate, provision

START_SECONDS = 90
REPOSITORY = Path(__file__).parents[2]

#: What a peer is installed from; fixed, so that two machines compare the same.
LANGGRAPH_DEV = "langgraph-cli[inmem]==0.4.40"
AEGRA = "aegra-cli==0.11.0"

#: As the native stack starts them.
POSTGRES_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "max_connections": "400",
    "shared_preload_libraries": "pg_stat_statements",
}

#: Runs a process executes side by side at most; the same for all who can be told.
JOBS = 30


class LeftOut(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class System:
    """Something that answers `/threads/{id}/runs/wait`, or does it in process."""

    name: str
    #: Its processes in words, for the table's notes.
    processes: str
    urls: tuple[str, ...] = ()
    #: Roots of its own process trees by what they are; Postgres and Valkey are added by whoever measures.
    pids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    database: str | None = None
    #: Arguments of the client where the floor is measured.
    in_process: tuple[str, ...] = ()
    durable: bool = True


class World:
    """One Postgres, one Valkey and a folder, for all systems."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer(durable=True, settings=POSTGRES_SETTINGS)
        self.valkey = ValkeyServer(persistent=True)
        self._numbers = iter(range(1000))

    @contextmanager
    def running(self) -> Iterator[World]:
        try:
            self.postgres.create()
            self.valkey.start()
            with self.admin() as admin:
                admin.execute("CREATE EXTENSION pg_stat_statements")
            yield self
        finally:
            self.valkey.remove()
            self.postgres.remove()

    def admin(self) -> psycopg.Connection:
        return psycopg.connect(self.postgres.url("postgres"), autocommit=True)

    async def migrated(self, name: str) -> Database:
        """A database of ours."""
        database = make_database(self.postgres, name)
        await provision(self.postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
        await migrate(database.owner_url, app_role="freehold_app")
        return database

    async def migrated_by(self, checkout: Path, name: str) -> Database:
        """A database as another version makes it."""
        database = make_database(self.postgres, name)
        await provision(self.postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
        environment = os.environ | {
            "PYTHONPATH": str(checkout / "src"),
            "DATABASE_URL": database.app_url,
            "FREEHOLD_MIGRATION_DATABASE_URL": database.owner_url,
        }
        subprocess.run([sys.executable, "-m", "freehold.storage.migrate"], env=environment, check=True)
        return database

    def plain(self, name: str) -> str:
        """URL of an empty database, for who makes its own tables."""
        with self.admin() as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'peer'").fetchone():
                admin.execute("CREATE ROLE peer LOGIN SUPERUSER PASSWORD 'peer-secret'")
            admin.execute(f'CREATE DATABASE "{name}" OWNER peer')
        return self.postgres.url(name, "peer", "peer-secret")

    def project(self, name: str, config: str = "langgraph.json", agent: str = AGENT) -> Path:
        """A folder with the graph."""
        folder = self.folder / f"{name}-{next(self._numbers)}"
        folder.mkdir()
        (folder / "agent.py").write_text(agent)
        (folder / config).write_text(json.dumps({"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}))
        return folder


#: Keys, scopes, the audit log, and every quota looked at without being reached.
GUARDED = """
[server]
auth = "keys"

[quotas]
runs_per_minute = 1000000
concurrent_runs = 100000
stored_mb = 1000000
tokens_per_day = 1000000000
"""


@contextmanager
def freehold(
    world: World,
    database: Database,
    *,
    servers: int = 1,
    workers: int = 1,
    agent: str = AGENT,
    concurrency: int = JOBS,
    guarded: bool = False,
    checkout: Path | None = None,
) -> Iterator[System]:
    """Ours, as `freehold up` starts it; `guarded` with keys and quotas, with `checkout` another version of it."""
    folder = world.project("freehold", agent=agent)
    (folder / "freehold.toml").write_text(f"[worker]\nconcurrency = {concurrency}\n{GUARDED if guarded else ''}")
    environment = {"DATABASE_URL": database.app_url, "REDIS_URL": world.valkey.url}
    if guarded:
        environment["FREEHOLD_BOOTSTRAP_API_KEY"] = KEY
    if checkout:
        environment["PYTHONPATH"] = str(checkout / "src")
    command = [sys.executable, "-m", "freehold"]
    with ExitStack() as stack:
        pids: dict[str, tuple[int, ...]] = {"server": (), "worker": ()}
        urls = []
        for number in range(servers):
            port = free_port()
            log = folder / f"serve-{number}.log"
            process = stack.enter_context(started([*command, "serve", "--port", str(port)], folder, environment, log))
            wait_until_up(f"http://127.0.0.1:{port}/ok", process, log)
            pids["server"] += (process.pid,)
            urls.append(f"http://127.0.0.1:{port}")
        for number in range(workers):
            process = stack.enter_context(started([*command, "worker"], folder, environment, folder / f"worker-{number}.log"))
            pids["worker"] += (process.pid,)
        name = "freehold" if servers == workers == 1 else f"freehold {servers}+{workers}"
        name = "freehold guarded" if guarded else "freehold before" if checkout else name
        told = f"{servers} server, {workers} worker ({concurrency} runs each), Postgres, Valkey"
        yield System(name, told, tuple(urls), pids, database.name)


@contextmanager
def langgraph_dev(world: World) -> Iterator[System]:
    """LangGraph's own development server: one process, state in memory. Not durable; a black box here."""
    binary = environment_with("langgraph-dev", LANGGRAPH_DEV, sys.executable) / "langgraph"
    folder, port = world.project("langgraph-dev"), free_port()
    command = [str(binary), "dev", "--no-browser", "--no-reload", "--port", str(port), "--n-jobs-per-worker", str(JOBS)]
    log = folder / "log"
    with started([*command, "--server-log-level", "WARNING"], folder, {"LANGSMITH_TRACING": "false"}, log) as process:
        wait_until_up(f"http://127.0.0.1:{port}/ok", process, log)
        told = f"1 process ({JOBS} runs), everything in memory: NOT durable"
        yield System("langgraph dev", told, (f"http://127.0.0.1:{port}",), {"server": (process.pid,)}, durable=False)


@contextmanager
def aegra(world: World, *, redis: bool) -> Iterator[System]:
    """Aegra with its executor in process, or with its Redis queue and workers (in the same process, as it starts them)."""
    python = newer_python()
    if python is None:
        raise LeftOut("it needs Python 3.12 or newer and none was found")
    binary = environment_with("aegra", AEGRA, python) / "aegra"
    name = "aegra redis" if redis else "aegra local"
    folder, port = world.project(name.replace(" ", "-"), "aegra.json"), free_port()
    database = name.replace(" ", "_")
    environment = {
        "DATABASE_URL": world.plain(database),
        "REDIS_BROKER_ENABLED": "true" if redis else "false",
        "REDIS_URL": world.valkey.url,
        "N_JOBS_PER_WORKER": str(JOBS // 3),
        "WORKER_COUNT": "3",
        "LOG_LEVEL": "WARNING",
        "AUTH_TYPE": "noop",
    }
    log = folder / "log"
    with started([str(binary), "serve", "--host", "127.0.0.1", "--port", str(port)], folder, environment, log) as process:
        wait_until_up(f"http://127.0.0.1:{port}/health", process, log)
        parts = "Postgres, Redis queue with 3 x 10 workers" if redis else "Postgres, runs in the server's loop"
        yield System(name, f"1 process, {parts}", (f"http://127.0.0.1:{port}",), {"server": (process.pid,)}, database)


def newer_python() -> str | None:
    """A Python >= 3.12 that really starts."""
    names = [sys.executable, *(shutil.which(f"python3.{minor}") or "" for minor in (12, 13, 14))]
    names += sorted(str(path) for path in Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))
    check = "import sys; sys.exit(sys.version_info < (3, 12))"
    for name in filter(None, names):
        if subprocess.run([name, "-c", check], capture_output=True, check=False).returncode == 0:
            return name
    return None


def environment_with(name: str, requirement: str, python: str) -> Path:
    """`bin` of an environment of its own in the user's cache that holds one requirement; made on first use.

    Raises:
        LeftOut: it cannot be installed here.
    """
    folder = cache() / "benchmarks" / name
    stamp = folder / "installed"
    if not stamp.is_file() or stamp.read_text() != requirement:
        print(f"installing {requirement} into {folder} (once)", file=sys.stderr)
        try:
            subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
            subprocess.run(pip, check=True, capture_output=True, text=True, timeout=900)
        except subprocess.CalledProcessError as error:
            said = str(error.stderr or error).strip().splitlines()
            raise LeftOut(f"{requirement} cannot be installed: {said[-1] if said else error}") from error
        stamp.write_text(requirement)
    return folder / "bin"


@contextmanager
def started(command: Sequence[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file, ended with the context and, on Linux, with us: a killed benchmark leaves nothing behind."""
    with_us = ["setpriv", "--pdeathsig", "TERM"] if sys.platform == "linux" and shutil.which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*with_us, *command],
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # its children too: a command line may leave the server it started behind
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers 200.

    Raises:
        LeftOut: it ended or stayed silent; with the end of its log.
    """
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=2) as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    raise LeftOut(f"it did not start:\n{log.read_text(errors='replace')[-1500:]}")


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
