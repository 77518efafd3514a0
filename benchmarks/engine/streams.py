"""`python -m benchmarks streams`: many open event streams against one server process, with Valkey, and no worker.

A publisher process appends to every run through `EventLog`, as workers do, each event with the time it was written at. The
client, a process of its own too, holds one connection for each stream and takes the time of arrival: the difference is what
Valkey, the server and two sockets add. Both clocks are the machine's monotonic one. Counted as dropped is every event that
was appended and did not arrive exactly once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from benchmarks.engine.figures import percentile
from benchmarks.engine.machine import described
from tests.conftest import make_database
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.core.event import END, Event, EventId
from freehold.events.log import EventLog, create_client
from freehold.storage.migrate import migrate, provision

#: The p99 of the added delay from which on the server counts as overloaded, in ms.
LIMIT_MS = 250

#: Appends under way at once, each on a connection of its own; about what a few workers have.
WRITERS = 32

#: Time of writing, in ns, and id of one event on the wire. A piece the server sends is never cut by a chunk's head.
_EVENT = re.compile(rb'data: \{"t":(\d+)[^\r]*\r\nid: 1-(\d+)\r\n\r\n')
#: Bytes an event is padded to; a token with its metadata has about as many.
EVENT_BYTES = 300
_END = b'{"status":"success","error":null,"interrupts":[],"values":null}'

AGENT = """
from langgraph.graph import END, START, MessagesState, StateGraph

async def answer(state):
    return {}

graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()
"""


@dataclass(frozen=True)
class Load:
    """So many streams, so many events a second on each, for so many seconds."""

    streams: int
    rate: float
    seconds: float

    @property
    def events(self) -> int:
        """On one stream."""
        return round(self.rate * self.seconds)


@dataclass
class Arrived:
    """What came on one stream: delays in ms, and whether it ended whole and in order."""

    delays: list[float] = field(default_factory=list)
    disordered: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Outcome:
    """Figures of one load. Delays in ms, CPU as a share of one core, memory in KiB a stream."""

    load: Load
    dropped: int
    cut: int
    p50: float
    p99: float
    worst: float
    server_cpu: float
    valkey_cpu: float
    client_cpu: float
    publisher_cpu: float
    rss_kib: float
    valkey_clients: int

    @property
    def sustained(self) -> bool:
        return not self.dropped and not self.cut and self.p99 < LIMIT_MS


# the publisher, a process of its own


async def publish(redis_url: str, runs: Sequence[UUID], load: Load) -> None:
    """Append to every run at its own phase, so that writes are spread out evenly, then close it."""
    client = create_client(redis_url)
    log, clock = EventLog(client), asyncio.get_running_loop().time
    appending = asyncio.Semaphore(WRITERS)
    await asyncio.gather(*(client.ping() for _ in range(WRITERS)))  # connect before it counts
    began, late = clock() + 0.2, 0.0

    async def one(place: int, run_id: UUID) -> None:
        nonlocal late
        for number in range(load.events):
            due = began + (number + place / len(runs)) / load.rate
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            async with appending:
                late = max(late, clock() - due)
                data = b'{"t":%d,"p":"' % time.monotonic_ns()
                await log.append(run_id, [Event(EventId(1, number + 1), "custom", data + b"x" * (EVENT_BYTES - len(data) - 2) + b'"}')])
        async with appending:
            await log.append(run_id, [Event(EventId(1, load.events + 1), END, _END)], close=True)

    cpu = time.process_time()
    await asyncio.gather(*(one(place, run_id) for place, run_id in enumerate(runs)))
    print(json.dumps({"cpu": (time.process_time() - cpu) / (clock() - began), "late_ms": late * 1000}))
    await client.aclose()


# the client, a process of its own


async def receive(port: int, paths: Sequence[str], load: Load) -> None:
    """Open every stream, say so, and read until all have ended."""
    arrived = [Arrived() for _ in paths]
    opened = asyncio.Semaphore(64)
    streams = [await _connect(port, path, opened) for path in paths]
    print("open", flush=True)
    cpu, began = time.process_time(), time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(load.seconds + 30):
            await asyncio.gather(*(_read(reader, one) for (reader, _), one in zip(streams, arrived, strict=True)))
    cpu_share = (time.process_time() - cpu) / (time.monotonic() - began)
    for _, writer in streams:
        writer.close()
    delays = sorted(delay for one in arrived for delay in one.delays)
    missing = sum(load.events - len(one.delays) + one.disordered for one in arrived)
    cut = sum(not one.ended for one in arrived)
    figures = {"p50": percentile(delays, 0.5), "p99": percentile(delays, 0.99), "worst": delays[-1] if delays else math.nan}
    print(json.dumps({"dropped": missing, "cut": cut, "cpu": cpu_share, **figures}))


async def _connect(port: int, path: str, opened: asyncio.Semaphore) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {head.decode()}")
        return reader, writer


async def _read(reader: asyncio.StreamReader, arrived: Arrived) -> None:
    rest, newest = b"", 0
    while piece := await reader.read(65536):
        now = time.monotonic_ns()
        rest += piece
        found = None
        for found in _EVENT.finditer(rest):
            arrived.delays.append((now - int(found[1])) / 1e6)
            arrived.disordered += int(found[2]) != newest + 1
            newest = int(found[2])
        if found:
            rest = rest[found.end() :]
        if rest.endswith(b"0\r\n\r\n"):  # the last chunk
            arrived.ended = True
            return


# the server and what it is asked


async def measure(server: psutil.Process, valkey: ValkeyServer, port: int, load: Load) -> Outcome:
    """One load on a server that is up."""
    runs = await _pending_runs(port, load.streams)
    resident = server.memory_info().rss
    paths = [f"/threads/{thread}/runs/{run}/stream" for thread, run in runs]
    client = await _start("receive", str(port), "-", load, "\n".join(paths))
    assert client.stdout
    if (await client.stdout.readline()).strip() != b"open":
        raise SystemExit("the streams could not be opened")
    await asyncio.sleep(2)  # until every stream waits for its first event
    usage = _cpu(server), _cpu(_valkey_process(valkey))
    began = time.monotonic()
    publisher = await _start("publish", "0", valkey.url, load, "\n".join(run for _, run in runs))
    await asyncio.sleep(load.seconds * 0.9)
    resident = server.memory_info().rss - resident  # while all are open and busy
    clients = await _valkey_clients(valkey)
    share = [
        (_cpu(process) - before) / (time.monotonic() - began)
        for process, before in zip((server, _valkey_process(valkey)), usage, strict=True)
    ]
    published = json.loads((await publisher.communicate())[0])
    received = json.loads((await client.communicate())[0])
    if published["late_ms"] > LIMIT_MS:
        print(f"  the publisher itself was up to {published['late_ms']:.0f} ms late: the machine is too busy", file=sys.stderr)
    return Outcome(
        load,
        *(received[name] for name in ("dropped", "cut", "p50", "p99", "worst")),
        server_cpu=share[0],
        valkey_cpu=share[1],
        client_cpu=received["cpu"],
        publisher_cpu=published["cpu"],
        rss_kib=resident / 1024 / load.streams,
        valkey_clients=clients,
    )


async def _pending_runs(port: int, count: int) -> list[tuple[str, str]]:
    """(thread, run) of new runs; without a worker they wait for as long as we like."""
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client:

        async def one() -> tuple[str, str]:
            thread = (await client.post("/threads", json={})).json()["thread_id"]
            body = {"assistant_id": "agent", "input": {"messages": []}}
            return thread, (await client.post(f"/threads/{thread}/runs", json=body)).raise_for_status().json()["run_id"]

        return list(await asyncio.gather(*(one() for _ in range(count))))


async def _start(what: str, port: str, url: str, load: Load, given: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.engine.streams", what, port, url, str(load.streams), str(load.rate), str(load.seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(given.encode())
    await process.stdin.drain()
    process.stdin.close()
    return process


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _valkey_process(valkey: ValkeyServer) -> psutil.Process:
    (found,) = (one for one in psutil.Process().children() if f"unixsocket:{valkey.folder}" in " ".join(one.cmdline()))
    return found


async def _valkey_clients(valkey: ValkeyServer) -> int:
    client = create_client(valkey.url)
    listed = await client.client_list()
    await client.aclose()
    return len(listed) - 1


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[psutil.Process, ValkeyServer, int]]:
    """One server process over a fresh database and an append-only Valkey."""
    postgres, valkey = PostgresServer(), ValkeyServer(persistent=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agent.py").write_text(AGENT)
        (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}))
        process: subprocess.Popen[bytes] | None = None
        try:
            postgres.create()
            valkey.start()
            database = make_database(postgres, "streams")
            await provision(postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
            await migrate(database.owner_url, app_role="freehold_app")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            process = subprocess.Popen(
                [sys.executable, "-m", "freehold", "serve", "--port", str(port)],
                cwd=folder,
                env={**os.environ, "DATABASE_URL": database.app_url, "REDIS_URL": valkey.url},
                stdout=(folder / "serve.log").open("wb"),
                stderr=subprocess.STDOUT,
            )
            await _until_up(port, folder / "serve.log")
            yield psutil.Process(process.pid), valkey, port
        finally:
            if process:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=30)
            valkey.remove()
            postgres.remove()


async def _until_up(port: int, log: Path) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(600):
            with suppress(httpx.HTTPError):
                if (await client.get(f"http://127.0.0.1:{port}/ok")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")


HEAD = (
    f"{'streams':>7} {'ev/s each':>9} {'dropped':>8} {'cut':>4} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}"
    f" {'server CPU':>10} {'Valkey CPU':>10} {'client CPU':>10} {'publ. CPU':>9} {'KiB/stream':>10} {'Valkey conns':>12}"
)


def line(one: Outcome) -> str:
    """One row under `HEAD`."""
    return (
        f"{one.load.streams:>7} {one.load.rate:>9g} {one.dropped:>8} {one.cut:>4} {one.p50:>7.1f} {one.p99:>7.1f} {one.worst:>7.1f}"
        f" {one.server_cpu:>10.0%} {one.valkey_cpu:>10.0%} {one.client_cpu:>10.0%} {one.publisher_cpu:>9.0%}"
        f" {one.rss_kib:>10.0f} {one.valkey_clients:>12}"
    )


async def compare(loads: Sequence[Load], *, breaking: bool) -> None:
    """Measure each load on one server; then, if wanted, more and more streams until it no longer keeps up."""
    print(f"{described()}; events of {EVENT_BYTES} bytes; CPU in shares of one core")
    print(HEAD, flush=True)
    async with serving() as (server, valkey, port):
        for load in loads:
            print(line(await measure(server, valkey, port, load)), flush=True)
        streams = 2000
        while breaking:
            outcome = await measure(server, valkey, port, Load(streams, 1, loads[0].seconds))
            print(line(outcome), flush=True)
            if not outcome.sustained:
                print(f"it breaks between {streams // 2} and {streams} streams at 1 event/s")
                return
            streams *= 2


def main() -> None:
    """Run the benchmark, or one of the two processes it starts."""
    if len(sys.argv) > 1 and sys.argv[1] in {"publish", "receive"}:
        what, port, url, streams, rate, seconds = sys.argv[1:]
        load, given = Load(int(streams), float(rate), float(seconds)), sys.stdin.read().split()
        asyncio.run(publish(url, [UUID(run) for run in given], load) if what == "publish" else receive(int(port), given, load))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks streams", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long each load lasts")
    parser.add_argument("--quick", action="store_true", help="fifty streams only: does it work at all?")
    parser.add_argument("--breaking-point", action="store_true", help="then double the streams until the server does not keep up")
    arguments = parser.parse_args()
    loads = [Load(50, 2, 3)] if arguments.quick else [Load(1000, 1, arguments.seconds), Load(200, 10, arguments.seconds)]
    asyncio.run(compare(loads, breaking=arguments.breaking_point))


if __name__ == "__main__":
    main()
