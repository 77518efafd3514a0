"""Deterministic graphs under chaos: each item a node adds tells how many it saw, so a step applied twice or lost shows in the state.

How long nodes take comes with the config and is no part of the state: the same input undisturbed, at once, gives the same state.
"""

import asyncio
import operator
import time
from typing import Annotated, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    items: Annotated[list[str], operator.add]


def _add(name: str, state: State) -> State:
    return {"items": [f"{name} after {len(state['items'])}"]}


def _pace(config: RunnableConfig, name: str) -> float:
    return config["configurable"].get(name, 0.0)


def node(name: str):
    async def work(state: State, config: RunnableConfig) -> State:
        write = get_stream_writer()
        for tick in range(4):
            write({"node": name, "tick": tick})
            await asyncio.sleep(_pace(config, "seconds") / 4)
        return _add(name, state)

    work.__name__ = name
    return work


async def blocking(state: State, config: RunnableConfig) -> State:
    time.sleep(_pace(config, "block_seconds"))  # what users should not do, and do
    return _add("blocking", state)


async def ask(state: State) -> State:
    return {"items": [f"{interrupt('go on?')} after {len(state['items'])}"]}


async def broken(state: State) -> State:
    raise ValueError("this node always fails")


def _chain(*nodes):
    builder = StateGraph(State)
    previous = START
    for work in nodes:
        builder.add_node(work.__name__, work)
        builder.add_edge(previous, work.__name__)
        previous = work.__name__
    builder.add_edge(previous, END)
    return builder


def _branches():
    builder = StateGraph(State)
    sides = ["left", "middle", "right"]
    for name in ("fork", *sides, "join"):
        builder.add_node(name, node(name))
    builder.add_edge(START, "fork")
    for side in sides:
        builder.add_edge("fork", side)
    builder.add_edge(sides, "join")
    builder.add_edge("join", END)
    return builder.compile()


class Inner(TypedDict, total=False):
    items: list[str]
    inner: Annotated[list[str], operator.add]


def inner_node(name: str):
    async def work(state: Inner, config: RunnableConfig) -> Inner:
        await asyncio.sleep(_pace(config, "seconds"))
        return {"inner": [f"{name} after {len(state.get('inner', []))}"]}

    work.__name__ = name
    return work


def _nested():
    builder = StateGraph(Inner)
    for name in ("one", "two"):
        builder.add_node(name, inner_node(name))
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", END)
    inner = builder.compile()

    async def within(state: State, config: RunnableConfig) -> State:
        found = await inner.ainvoke({"items": state["items"], "inner": []}, config)
        return {"items": found["inner"]}

    return _chain(node("before"), within, node("behind")).compile()


chain = _chain(node("first"), node("second"), node("third"), node("last")).compile()
branches = _branches()
nested = _nested()
asks = _chain(node("first"), ask, node("last")).compile()
blocks = _chain(node("first"), blocking, node("last")).compile()
fails = _chain(node("first"), broken).compile()
