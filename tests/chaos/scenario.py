"""What a seed asks for: threads with their runs, and what these give where nothing disturbs them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from freehold.core.run import Durability, MultitaskStrategy, RunRequest

GRAPHS = Path(__file__).parent / "project" / "graphs.py"


#: Nodes of the graph "chain".
CHAIN = ("first", "second", "third", "last")


@dataclass(frozen=True)
class ThreadPlan:
    """Runs of one graph on one thread. `at_once`: all are accepted before the first ends; otherwise one after another."""

    graph: str
    requests: tuple[RunRequest, ...]
    at_once: bool = True
    #: Seconds all its runs take undisturbed.
    seconds: float = 0.0
    #: What a run does to those of its thread that have not ended.
    strategy: MultitaskStrategy = "enqueue"
    #: Seconds before each run is asked for; none: at once.
    pauses: tuple[float, ...] = ()


@dataclass(frozen=True)
class Undisturbed:
    """What the plan gives in process: for each run how it ends, the values and the last root step after it; and all root steps."""

    statuses: tuple[str, ...]
    values: tuple[Any, ...]
    last_steps: tuple[int, ...]
    steps: tuple[int, ...] = field(default=())


@cache
def graphs() -> ModuleType:
    """The graphs the workers load, in this process."""
    spec = importlib.util.spec_from_file_location("chaos_graphs", GRAPHS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def request(durability: Durability = "async", *, seconds: float = 0.4, block_seconds: float = 0.0, **changes: Any) -> RunRequest:
    configurable = {"seconds": seconds, "block_seconds": block_seconds}
    asked = {"input": {"items": ["in"]}, "stream_mode": ("values", "custom"), **changes}
    return RunRequest(config={"configurable": configurable}, durability=durability, **asked)


#: Threads of chains whose runs stop each other.
STOPS: dict[str, MultitaskStrategy] = {"interrupts": "interrupt", "rolls back": "rollback"}


def draw(random: Random, graph: str) -> ThreadPlan:
    """A thread with a graph, its durability and pace from the seed."""
    durability = cast(Durability, random.choice(["sync", "async", "exit"]))
    pace = random.uniform(0.2, 0.8)
    if graph == "asks":
        first = request(durability, seconds=pace)
        resumed = request(durability, seconds=pace, input=None, command={"resume": "yes"})
        return ThreadPlan(graph, (first, resumed), at_once=False, seconds=2 * pace)
    if graph == "blocks":
        return ThreadPlan(graph, (request(durability, seconds=pace, block_seconds=3.0),), seconds=2 * pace + 3)
    if graph in STOPS:
        pauses = (0.0, *(random.uniform(0, 3 * pace) for _ in range(random.choice([1, 2]))))
        runs = (request(durability, seconds=pace),) * len(pauses)
        return ThreadPlan("chain", runs, seconds=4 * pace * len(pauses), strategy=STOPS[graph], pauses=pauses)
    count = random.choice([1, 1, 2, 3]) if graph == "chain" else 1
    return ThreadPlan(graph, (request(durability, seconds=pace),) * count, seconds=4 * pace * count)


def draw_all(random: Random) -> list[ThreadPlan]:
    """At least one thread of each kind, in any order."""
    kinds = ["chain", "chain", "branches", "branches", "nested", "nested", "asks", "asks", "blocks", "fails", *STOPS]
    random.shuffle(kinds)
    return [draw(random, graph) for graph in kinds]


async def undisturbed(plan: ThreadPlan) -> Undisturbed:
    """Run the plan in this process, at once, with a saver in memory."""
    saver = InMemorySaver()
    graph = getattr(graphs(), plan.graph).copy(update={"checkpointer": saver})
    config: RunnableConfig = {"configurable": {"thread_id": "undisturbed"}}
    root: RunnableConfig = {"configurable": {"thread_id": "undisturbed", "checkpoint_ns": ""}}
    statuses, values, last_steps = [], [], []
    for asked in plan.requests:
        given = Command(resume=asked.command["resume"]) if asked.command else asked.input
        try:
            await graph.ainvoke(given, config, durability=asked.durability)
            statuses.append("success")
        except ValueError:
            statuses.append("error")
        values.append((await graph.aget_state(root)).values)
        last_steps.append((await saver.aget_tuple(root)).metadata["step"])  # type: ignore[union-attr]
    steps = [item.metadata["step"] async for item in saver.alist(root)]
    return Undisturbed(tuple(statuses), tuple(values), tuple(last_steps), tuple(reversed(steps)))


def items_left(items: list[str], *, runs: int, complete: int) -> list[str]:
    """What chains leave on one thread, where all but the last may have been stopped, judged by how far each of them got.

    Args:
        items: what is there.
        runs: how many there were at most that left anything.
        complete: how many there were at least that reached their end.

    Returns:
        The same where it can be right, otherwise what is wrong.
    """
    lengths: list[int] = []
    for item in items:
        if item == "in":
            lengths.append(0)
        elif lengths:
            lengths[-1] += 1
    full = lengths.count(len(CHAIN))
    if len(lengths) > runs or full < complete or not lengths or lengths[-1] != len(CHAIN):
        return [f"{complete} to {runs} runs, the last one complete"]
    expected: list[str] = []
    for length in lengths:
        expected.append("in")
        for name in CHAIN[:length]:
            expected.append(f"{name} after {len(expected)}")
    return expected
