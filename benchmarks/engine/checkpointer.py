"""`python -m benchmarks checkpointer`: our saver against LangGraph's stock one, alternated in one process on one Postgres.

Operations: each task stores the steps of its own thread, `aput_writes` and `aput` in turn, with 2 KB of new state each.
Bytes: a conversation of 1 KB questions and 1 KB answers, incompressible text, through an unmodified `MessagesState` graph;
what all tables of the schema grew by, indexes and TOAST included. The stock saver is followed up to 200 turns: it stores
every message again at every step.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

import psycopg
import uvloop
from benchmarks.engine.figures import table
from benchmarks.engine.floor import saver
from benchmarks.engine.machine import described, fsyncs_per_second
from benchmarks.engine.measure import progress
from benchmarks.engine.systems import World
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph

SAVERS = ("ours", "stock")
POOL_SIZE = 10
STATE_BYTES = 2048
STEPS = {32: 30, 1: 200}
#: Before each measurement, so that connections are open and statements prepared.
WARM_STEPS = 30

TEXT_BYTES = 1024
#: Turns after which bytes and latency are told.
MARKS = (10, 200, 2000)
STOCK_TURNS = 200
#: Turns whose median is the latency at a mark.
WINDOW = 9


@dataclass(frozen=True)
class Mark:
    """A conversation after so many turns."""

    turns: int
    stored: int
    raw: int
    turn_ms: float
    #: To decode all its messages once, with LangGraph's serializer.
    decode_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks checkpointer", description=__doc__)
    parser.add_argument("--json", type=Path, help="write every figure to this file too")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one pass, and 200 turns at most")
    return uvloop.run(run(parser.parse_args()))


async def run(arguments: argparse.Namespace) -> int:
    """Both parts, printed as they come."""
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        world = stack.enter_context(World(folder).running())
        print(f"machine: {described()}; {fsyncs_per_second(world.postgres.folder):.0f} fdatasync/s (one writer, before)")
        async with databases(world) as urls:
            rates = await operations(urls, 1 if arguments.quick else arguments.passes)
            marks = {
                kind: await conversation(kind, url, STOCK_TURNS if arguments.quick or kind == "stock" else MARKS[-1])
                for kind, url in urls.items()
            }
        show(marks)
        print(f"{fsyncs_per_second(world.postgres.folder):.0f} fdatasync/s (after)")
    if arguments.json:
        shown = {kind: [asdict(mark) for mark in found] for kind, found in marks.items()}
        arguments.json.write_text(json.dumps({"operations": rates, "conversation": shown}, indent=1))
    return 0


@asynccontextmanager
async def databases(world: World) -> AsyncIterator[dict[str, str]]:
    """Saver -> URL of a database with its tables."""
    ours = await world.migrated("ours")
    urls = {"ours": ours.app_url, "stock": world.plain("stock")}
    async with saver("stock", urls["stock"], pool_size=2):
        yield urls


async def operations(urls: dict[str, str], passes: int) -> dict[str, dict[int, float]]:
    """Operations a second by saver and number of tasks."""
    found: dict[str, dict[int, list[float]]] = {kind: {tasks: [] for tasks in STEPS} for kind in urls}
    for number in range(-1, passes):  # the first one warms up
        for kind in SAVERS if number % 2 == 0 else reversed(SAVERS):
            async with saver(kind, urls[kind], pool_size=POOL_SIZE) as one:
                for tasks, steps in STEPS.items():
                    await rate_of(one, tasks, WARM_STEPS)
                    rate = await rate_of(one, tasks, steps)
                    if number >= 0:
                        found[kind][tasks].append(rate)
                        progress(f"operations, pass {number + 1}/{passes}: {kind}, {tasks} tasks: {rate:.0f}/s")
    medians = {kind: {tasks: statistics.median(rates) for tasks, rates in by.items()} for kind, by in found.items()}
    rows = [
        [f"{tasks} task{'s' if tasks > 1 else ''}", *(f"{medians[kind][tasks]:.0f}" for kind in SAVERS), _ratio(medians, tasks)]
        for tasks in STEPS
    ]
    header = (f"operations/s, pool of {POOL_SIZE}, 2 KB", *SAVERS, "ours to stock")
    print(f"\n{table(header, rows)}\n", flush=True)
    return medians


def _ratio(medians: dict[str, dict[int, float]], tasks: int) -> str:
    return f"{medians['ours'][tasks] / medians['stock'][tasks]:.1f} x"


async def rate_of(one: Any, tasks: int, steps: int) -> float:
    """Operations a second of so many tasks, each on a thread of its own."""
    began = time.perf_counter()
    await asyncio.gather(*(store_steps(one, steps) for _ in range(tasks)))
    return tasks * steps * 2 / (time.perf_counter() - began)


async def store_steps(one: Any, steps: int) -> None:
    """A thread's steps: the writes of a task, then the checkpoint after it."""
    config: dict[str, Any] = {"configurable": {"thread_id": str(uuid4()), "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint()
    for step in range(steps):
        version = f"{step + 1:032}.0"
        checkpoint = {
            **checkpoint,
            "id": str(uuid6(clock_seq=step)),
            "channel_values": {"state": secrets.token_bytes(STATE_BYTES)},
            "channel_versions": {"state": version},
        }
        config = await one.aput(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, {"state": version})
        await one.aput_writes(config, [("state", secrets.token_bytes(STATE_BYTES))], str(uuid4()))


class Turn(TypedDict):
    """Input of a turn."""

    messages: list[dict[str, str]]


def _text() -> str:
    """1 KB no compression of Postgres can shorten."""
    return secrets.token_urlsafe(TEXT_BYTES)[:TEXT_BYTES]


async def _answer(state: MessagesState) -> Turn:
    return {"messages": [{"role": "assistant", "content": _text()}]}


async def conversation(kind: str, url: str, last: int) -> list[Mark]:
    """One thread, turn after turn; told at each mark up to the last turn."""
    graph = StateGraph(MessagesState).add_node("answer", _answer).add_edge(START, "answer").add_edge("answer", END).compile()
    config: Any = {"configurable": {"thread_id": str(uuid4())}}
    marks: list[Mark] = []
    taken: list[float] = []
    empty = stored_bytes(url)
    async with saver(kind, url, pool_size=POOL_SIZE) as one:
        saved = graph.copy(update={"checkpointer": one})
        for turn in range(1, last + 1):
            began = time.perf_counter()
            state = await saved.ainvoke({"messages": [{"role": "user", "content": _text()}]}, config, durability="async")
            taken.append(time.perf_counter() - began)
            if turn in MARKS:
                recent = statistics.median(taken[-WINDOW:]) * 1000
                marks.append(Mark(turn, stored_bytes(url) - empty, 2 * TEXT_BYTES * turn, recent, decoding(state["messages"])))
            if turn % 100 == 0:
                progress(f"conversation, {kind}: {turn}/{last} turns, {statistics.median(taken[-WINDOW:]) * 1000:.0f} ms each")
    assert len(state["messages"]) == 2 * last
    return marks


def decoding(messages: Sequence[Any]) -> float:
    """ms to decode these messages once."""
    serializer = JsonPlusSerializer(pickle_fallback=False)
    data = serializer.dumps_typed(list(messages))
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        serializer.loads_typed(data)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1000


def stored_bytes(url: str) -> int:
    """All tables of the database with indexes and TOAST."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchone()
    assert row
    return int(row[0] or 0)


def show(marks: dict[str, list[Mark]]) -> None:
    """The conversation's table, and how its turns grew."""
    header = ("saver", "turns", "raw kB", "stored kB", "stored to raw", "turn ms", "decode once ms")
    rows = [[kind, *_cells(one)] for kind, found in marks.items() for one in found]
    print(f"\nconversation of 2 x 1 KB, MessagesState\n{table(header, rows)}")
    for kind, found in marks.items():
        first, last = found[0], found[-1]
        growth = last.turn_ms - first.turn_ms
        times = growth / last.decode_ms
        print(f"{kind}: a turn grew by {growth:.1f} ms from turn {first.turns} to {last.turns} = {times:.1f} x decoding once")


def _cells(one: Mark) -> list[str]:
    kilobytes = (f"{size / 1024:.0f}" for size in (one.raw, one.stored))
    return [str(one.turns), *kilobytes, f"{one.stored / one.raw:.1f} x", f"{one.turn_ms:.1f}", f"{one.decode_ms:.1f}"]


if __name__ == "__main__":
    raise SystemExit(main())
