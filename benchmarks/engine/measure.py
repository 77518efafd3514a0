"""Measures one system at a time: the load client does its task while CPU, statements and commits are read before and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from benchmarks.engine.figures import Sample
from benchmarks.engine.machine import cpu_seconds
from benchmarks.engine.systems import REPOSITORY, System, World

#: A measurement begins no further run after this long: a peer that takes a second for each is known by then.
LIMIT_SECONDS = 5.0

#: Statements of one database; transactions that wrote and bytes of log are of the whole server, where only one system works at a time.
_COUNTS = """
SELECT COALESCE((SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s), 0)::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint
"""


class Client:
    """A load client in a process of its own; tasks go in and results come out, a line of JSON each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def ask(self, **task: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load client ended")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def client(*arguments: str) -> Iterator[Client]:
    """A started client; ends with the context."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "benchmarks.engine.client", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        made = Client(process)
        made.answer()
        try:
            yield made
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=30)


@dataclass(frozen=True)
class Bench:
    """A world, a connection to ask it for counts, and a client for each system."""

    world: World
    admin: psycopg.Connection
    clients: dict[str, Client]

    def sample(self, system: System, kind: str, *, concurrency: int, count: int) -> Sample:
        """One measurement. Threads are made beforehand and not counted."""
        asked = self.clients[system.name]
        urls = system.urls or ("",)
        threads = asked.ask(do="threads", url=urls[0], count=count)["threads"]
        before, cpu_before = self._counts(system), self._cpu(system)
        found = asked.ask(do=kind, urls=urls, threads=threads, concurrency=concurrency, limit=LIMIT_SECONDS)
        cpu, after = {part: spent - cpu_before[part] for part, spent in self._cpu(system).items()}, self._counts(system)
        statements, commits, wal = (b - a for a, b in zip(before, after, strict=True)) if system.database else (0, 0, 0)
        return Sample(tuple(found["seconds_each"]), found["seconds"], cpu, found["cpu"], statements, commits, wal, found["errors"])

    def _counts(self, system: System) -> tuple[int, int, int]:
        row = self.admin.execute(_COUNTS, (system.database,)).fetchone()
        assert row
        return row[0], row[1], row[2]

    def _cpu(self, system: System) -> dict[str, float]:
        own = {"in process": (self.clients[system.name].pid,)} if system.in_process else dict(system.pids)
        shared = {"Postgres": (self.world.postgres.pid,), "Valkey": (self.world.valkey.pid,)} if system.database else {}
        return {part: cpu_seconds(pids) for part, pids in (own | shared).items()}


def progress(text: str) -> None:
    """One line that is overwritten, on a terminal; a line each elsewhere."""
    end = "\x1b[K\r" if sys.stderr.isatty() else "\n"
    print(f"  {text}", end=end, file=sys.stderr, flush=True)
