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

from freehold.core.run import Durability, RunRequest

GRAPHS = Path(__file__).parent / "project" / "graphs.py"


@dataclass(frozen=True)
class ThreadPlan:
    """Runs of one graph on one thread. `at_once`: all are accepted before the first ends; otherwise one after another."""

    graph: str
    requests: tuple[RunRequest, ...]
    at_once: bool = True
    #: Seconds all its runs take undisturbed.
    seconds: float = 0.0


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


def draw(random: Random, graph: str) -> ThreadPlan:
    """A thread with a graph, its durability and pace from the seed."""
    durability = cast(Durability, random.choice(["sync", "async", "async", "exit"]))
    pace = random.uniform(0.2, 0.8)
    if graph == "asks":
        first = request(durability, seconds=pace)
        resumed = request(durability, seconds=pace, input=None, command={"resume": "yes"})
        return ThreadPlan(graph, (first, resumed), at_once=False, seconds=2 * pace)
    if graph == "blocks":
        return ThreadPlan(graph, (request(durability, seconds=pace, block_seconds=3.0),), seconds=2 * pace + 3)
    count = random.choice([1, 1, 2, 3]) if graph == "chain" else 1
    return ThreadPlan(graph, (request(durability, seconds=pace),) * count, seconds=4 * pace * count)


def draw_all(random: Random) -> list[ThreadPlan]:
    """One thread of each kind and a few more, in any order."""
    kinds = ["chain", "chain", "branches", "branches", "nested", "nested", "asks", "asks", "blocks", "chain", "nested"]
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
