"""Searches over an owner's 100,000 threads among as many of others, through row-level security as a request makes them.

    python -m benchmarks threads            # about three minutes
    python -m benchmarks threads --threads 20000 --rounds 10

Rows are generated with COPY: metadata of six keys, values with four messages, one status in ten other than idle. Each search is asked
`--rounds` times with changing values, on one connection, limit 10. Times are the storage layer's, from the call to the parsed rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any
from uuid import UUID, uuid4

import psutil
import psycopg
from benchmarks.engine.machine import described
from tests.conftest import Database, make_database
from tests.support.servers import PostgresServer

from freehold.core.caller import Caller
from freehold.core.extract import parse_paths
from freehold.storage.inbox import Inbox, InboxFilter
from freehold.storage.migrate import migrate, provision
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs
from freehold.storage.thread_search import SORT_COLUMNS, ThreadFilter, ThreadSearch

ANNA = Caller("acme", "anna")
COLUMNS = 'thread_id, organisation, owner, status, status_at_rest, metadata, "values", interrupts, created_at, updated_at, state_updated_at'

#: PostgreSQL as a small stack has it.
POSTGRES_SETTINGS = {"shared_buffers": "256MB", "work_mem": "4MB", "random_page_cost": "1.1"}

Make = Callable[[random.Random, list[UUID]], dict[str, Any]]

#: What is asked: name -> filter, from a random number and ids of the owner's threads.
SEARCHES: dict[str, Make] = {
    "nothing in particular": lambda r, ids: {},
    "metadata, 1 in 1000": lambda r, ids: {"metadata": {"customer": f"c{r.randrange(1000)}"}},
    "metadata, 1 in 2": lambda r, ids: {"metadata": {"kind": r.choice("ab")}},
    "metadata, one thread": lambda r, ids: {"metadata": {"number": r.randrange(len(ids))}},
    "metadata, none": lambda r, ids: {"metadata": {"customer": f"nobody-{r.random()}"}},
    "status idle": lambda r, ids: {"status": "idle"},
    "status error": lambda r, ids: {"status": "error"},
    "status busy": lambda r, ids: {"status": "busy"},
    "values, 1 in 500": lambda r, ids: {"values": {"topic": f"t{r.randrange(500)}"}},
    "values, 1 in 2": lambda r, ids: {"values": {"stage": r.choice(["new", "done"])}},
    "values, one thread": lambda r, ids: {"values": {"ticket": f"anna-{r.randrange(len(ids))}"}},
    "values, none": lambda r, ids: {"values": {"ticket": f"nobody-{r.random()}"}},
    "50 ids": lambda r, ids: {"ids": r.sample(ids, 50)},
    "metadata, values and status": lambda r, ids: {
        "metadata": {"customer": f"c{r.randrange(1000)}"}, "values": {"stage": "new"}, "status": "idle",
    },
    "page 50 of all": lambda r, ids: {"offset": 490},
    "extract of two paths": lambda r, ids: {
        "extract": parse_paths({"last": "values.messages[-1].content", "who": "metadata.customer"}), "with_values": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Milliseconds of one kind of search."""

    name: str
    found: int
    milliseconds: list[float]
    #: Milliseconds of CPU a search takes of the server's process: what is left where others use the machine too.
    cpu: float

    def __str__(self) -> str:
        p95 = quantiles(self.milliseconds, n=20)[-1]
        return (
            f"| {self.name} | {self.found} | {median(self.milliseconds):.1f} | {p95:.1f} | {max(self.milliseconds):.1f} | {self.cpu:.1f} |"
        )


async def main() -> None:
    """Make the rows, ask, print a table."""
    arguments = _arguments()
    server = PostgresServer(settings=POSTGRES_SETTINGS)
    try:
        server.create()
        database = make_database(server, "threads")
        await provision(server.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=database.reader_url)
        await migrate(database.owner_url, app_role="freehold_app")
        since = time.monotonic()
        ids = _fill(database, arguments.threads)
        sys.stderr.write(f"{2 * arguments.threads} threads in {time.monotonic() - since:.0f} s\n")
        async with create_pool(database.app_url, max_size=1) as pool:
            lines = await _measure(pool, ids, arguments.rounds)
    finally:
        server.remove()
    print(f"{arguments.threads} threads of one owner among {2 * arguments.threads}; {arguments.rounds} searches each; {described()}\n")
    print("| search | threads on the page | median ms | p95 ms | slowest ms | Postgres CPU ms |\n| --- | --- | --- | --- | --- | --- |")
    print(*lines, sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


def _fill(database: Database, count: int) -> list[UUID]:
    ids: list[UUID] = []
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        for owner in ("anna", "bob"):
            with conn.cursor().copy(f"COPY freehold.threads ({COLUMNS}) FROM STDIN") as rows:
                for row in _rows(owner, count):
                    rows.write_row(row)
                    if owner == "anna":
                        ids.append(row[0])
        conn.execute("VACUUM ANALYZE freehold.threads")
    return ids


def _rows(owner: str, count: int) -> Iterator[tuple[Any, ...]]:
    chance, now = random.Random(owner), datetime.now(UTC)
    for number in range(count):
        made = now - timedelta(seconds=chance.random() * 90 * 86400)
        status = chance.choices(["idle", "interrupted", "error", "busy"], [90, 5, 4, 1])[0]
        metadata = {
            "graph_id": "agent", "assistant_id": str(uuid4()), "customer": f"c{number % 1000}", "kind": chance.choice("ab"),
            "number": number, "note": "x" * chance.randrange(60),
        }  # fmt: skip
        said = [{"type": kind, "content": "hello " * 20, "id": str(uuid4()), "additional_kwargs": {}} for kind in ("human", "ai") * 2]
        values = {"topic": f"t{number % 500}", "stage": chance.choice(["new", "done"]), "ticket": f"{owner}-{number}", "messages": said}
        asks = {"task": [{"id": "i", "value": {"question": "?"}}]} if status == "interrupted" else {}
        at_rest = "idle" if status == "busy" else status
        touched = made + timedelta(seconds=chance.random() * 1000)
        row = (uuid4(), "acme", owner, status, at_rest, json.dumps(metadata), json.dumps(values), json.dumps(asks))
        yield (*row, made, touched + timedelta(seconds=chance.random()), touched)


async def _measure(pool: Pool, ids: list[UUID], rounds: int) -> list[Line]:
    search, chance, server = ThreadSearch(pool), random.Random(7), await _server_process(pool)

    async def page(wanted: dict[str, Any]) -> int:
        return len((await search.page(ANNA, ThreadFilter(**wanted))).threads)

    lines = [await _line(server, page, name, [make(chance, ids) for _ in range(rounds)]) for name, make in SEARCHES.items()]
    for column in sorted(SORT_COLUMNS):
        for order in ("asc", "desc"):
            for name in ("nothing in particular", "metadata, 1 in 2", "status error"):
                asked = [{**SEARCHES[name](chance, ids), "sort_by": column, "sort_order": order} for _ in range(rounds)]
                lines.append(await _line(server, page, f"{name}, by {column} {order}", asked))
    inbox = Inbox(pool, Runs(pool))

    async def questions(wanted: dict[str, Any]) -> int:
        return len(await inbox.search(ANNA, InboxFilter(**wanted)))

    customers = [{"metadata": {"customer": f"c{chance.randrange(1000)}"}} for _ in range(rounds)]
    lines.append(await _line(server, questions, "inbox", [{}] * rounds))
    lines.append(await _line(server, questions, "inbox, metadata 1 in 1000", customers))
    return lines


async def _server_process(pool: Pool) -> psutil.Process:
    """The one that serves the pool's only connection."""
    async with pool.connection() as conn:
        return psutil.Process(conn.info.backend_pid)


async def _line(server: psutil.Process, ask: Callable[[dict[str, Any]], Awaitable[int]], name: str, asked: list[dict[str, Any]]) -> Line:
    taken, found, before = [], 0, sum(server.cpu_times()[:2])
    for wanted in asked:
        since = time.perf_counter()
        found = await ask(wanted)
        taken.append((time.perf_counter() - since) * 1000)
    return Line(name, found, taken, (sum(server.cpu_times()[:2]) - before) * 1000 / len(asked))


if __name__ == "__main__":
    asyncio.run(main())
