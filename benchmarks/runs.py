"""What the server, queue, worker and event log add to a graph: `POST /threads/{id}/runs/wait` against the same graph in process.

Both use the same Postgres and the same saver, alternated over several passes, so that a noisy machine is noisy for both.
Prints medians over the passes and their ratio. One HTTP process, one worker process, one client process.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from langgraph.graph.state import CompiledStateGraph
from tests.conftest import make_database
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.migrate import migrate, provision
from freehold.storage.pool import Pool, create_pool

PASSES = 3
CONCURRENCIES = (1, 16, 64)
RUNS_PER_PASS = {1: 50, 16: 200, 64: 200}

AGENT = """
from langgraph.graph import END, START, MessagesState, StateGraph

async def answer(state):
    return {"messages": [{"role": "assistant", "content": "done"}]}

graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()
"""
INPUT = {"messages": [{"role": "user", "content": "hello"}]}

One = Callable[[], Awaitable[None]]


async def in_process(graph: CompiledStateGraph, pool: Pool) -> One:
    saved = graph.copy(update={"checkpointer": create_checkpointer(pool)})
    numbers = iter(range(10**9))

    async def one() -> None:
        await saved.ainvoke(INPUT, {"configurable": {"thread_id": f"bench-{next(numbers)}"}}, durability="async")

    return one


async def over_http(client: httpx.AsyncClient) -> One:
    async def one() -> None:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        response = await client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "agent", "input": INPUT})
        assert response.json()["messages"][-1]["content"] == "done", response.text

    return one


async def measure(one: One, concurrency: int) -> tuple[float, float, float]:
    """(runs per second, p50 in ms, p95 in ms)."""
    count = RUNS_PER_PASS[concurrency]
    room = asyncio.Semaphore(concurrency)
    taken: list[float] = []

    async def timed() -> None:
        async with room:
            began = time.perf_counter()
            await one()
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(timed() for _ in range(count)))
    rate = count / (time.perf_counter() - began)
    ordered = sorted(taken)
    return rate, statistics.median(ordered) * 1000, ordered[int(count * 0.95) - 1] * 1000


async def compare(floor: One, ours: One) -> None:
    print(f"{'':>4}  {'in process':^32}  {'freehold runs/wait':^32}  ratio")
    print(f"{'C':>4}  {'runs/s':>9} {'p50 ms':>10} {'p95 ms':>10}   {'runs/s':>9} {'p50 ms':>10} {'p95 ms':>10}   p50")
    for concurrency in CONCURRENCIES:
        passes = [(await measure(floor, concurrency), await measure(ours, concurrency)) for _ in range(PASSES)]
        a, b = ([statistics.median(column) for column in zip(*(one[side] for one in passes), strict=True)] for side in (0, 1))
        print(f"{concurrency:>4}  {a[0]:9.0f} {a[1]:10.1f} {a[2]:10.1f}   {b[0]:9.0f} {b[1]:10.1f} {b[2]:10.1f}   {b[1] / a[1]:.1f} x")


def start(command: str, folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "freehold", command, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=(folder / f"{command}.log").open("wb"),
        stderr=subprocess.STDOUT,
    )


async def ready(client: httpx.AsyncClient, folder: Path) -> None:
    for _ in range(600):
        try:
            if (await client.get("/ok")).status_code == 200:
                return
        except httpx.HTTPError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{(folder / 'serve.log').read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def main() -> None:
    postgres, valkey = PostgresServer(durable=True), ValkeyServer(persistent=True)
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agent.py").write_text(AGENT)
        (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}))
        try:
            postgres.create()
            valkey.start()
            database = make_database(postgres, "bench")
            await provision(postgres.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
            await migrate(database.owner_url, app_role="freehold_app")
            environment = {"DATABASE_URL": database.app_url, "REDIS_URL": valkey.url}
            port = free_port()
            processes += [start("serve", folder, environment, "--port", str(port)), start("worker", folder, environment)]
            scope: dict[str, CompiledStateGraph] = {}
            exec(AGENT, scope)
            limits = httpx.Limits(max_connections=200)
            async with (
                create_pool(database.app_url, max_size=20) as pool,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client,
            ):
                await ready(client, folder)
                floor, ours = await in_process(scope["graph"], pool), await over_http(client)
                await floor()
                await ours()
                await compare(floor, ours)
        except httpx.HTTPError:
            print((folder / "serve.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=30)
            valkey.remove()
            postgres.remove()


if __name__ == "__main__":
    asyncio.run(main())
