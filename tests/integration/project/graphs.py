"""Deterministic graphs for tests of the worker: each leaves a trace in a file, so that every execution of a step is seen."""

import asyncio
import operator
import os
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt


class State(TypedDict, total=False):
    trace: str  # file that gets one line per execution of a node
    seconds: float
    steps: Annotated[list[str], operator.add]


def _mark(state: State, node: str) -> None:
    if path := state.get("trace"):
        with Path(path).open("a") as file:
            file.write(f"{os.getpid()} {node}\n")


async def first(state: State) -> State:
    _mark(state, "first")
    return {"steps": ["first"]}


async def slow(state: State) -> State:
    _mark(state, "slow")
    await asyncio.sleep(state.get("seconds", 0))
    return {"steps": ["slow"]}


async def ticking(state: State) -> State:
    _mark(state, "ticking")
    write = get_stream_writer()
    for number in range(int(state.get("seconds", 1) * 20)):
        write({"tick": number})
        await asyncio.sleep(0.05)
    return {"steps": ["ticking"]}


async def blocking(state: State) -> State:
    _mark(state, "blocking")
    time.sleep(state.get("seconds", 0))  # what users should not do, and do
    return {"steps": ["blocking"]}


async def turn(state: State, config: RunnableConfig) -> State:
    """Says when it begins and ends, so that two at once on one thread would be seen."""
    run = config["configurable"]["run_id"]
    _mark(state, f"begin {run}")
    try:
        await asyncio.sleep(state.get("seconds", 0))
    finally:
        _mark(state, f"end {run}")
    return {"steps": [run]}


async def sulk(state: State) -> State:
    """Raises when it is stopped."""
    _mark(state, "sulk")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise ValueError("cannot be stopped") from None
    return {}


async def shrug(state: State) -> State:
    """Does not hear the first time that it is stopped."""
    _mark(state, "shrug")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)
    return {}


async def last(state: State) -> State:
    _mark(state, "last")
    return {"steps": ["last"]}


async def ask(state: State) -> State:
    return {"steps": [interrupt({"question": "go on?"})]}


async def ask_twice(state: State) -> State:
    _mark(state, "ask_twice")
    return {"steps": [interrupt("first question"), interrupt("second question")]}


async def ask_then_sleep(state: State) -> State:
    answer = interrupt("how long?")
    _mark(state, "ask_then_sleep")
    await asyncio.sleep(state.get("seconds", 60))
    return {"steps": [answer]}


async def remember(state: State, runtime: Runtime) -> State:
    known = await runtime.store.aget(("tests",), "count")
    count = known.value["count"] + 1 if known else 1
    await runtime.store.aput(("tests",), "count", {"count": count})
    return {"steps": [f"seen {count} times"]}


async def ask_richly(state: State) -> State:
    return {
        "steps": [str(interrupt({"when": datetime(2030, 1, 1, tzinfo=UTC), "message": HumanMessage("nul\0here"), "price": Decimal("1.5")}))]
    }


class Talk(MessagesState):
    aside: str


async def hear(state: Talk) -> dict:
    return {"messages": [AIMessage(f"heard {len(state['messages'])}")]}


_aside: dict[str, AnyMessage] = {}


async def put_aside(state: Talk) -> dict:
    """For one step no state holds the first message; then it is there again, the same one."""
    first = state["messages"][0]
    _aside[first.id] = first
    return {"messages": [RemoveMessage(first.id)], "aside": first.id}


async def bring_back(state: Talk) -> dict:
    await asyncio.sleep(0.05)
    return {"messages": [_aside.pop(state["aside"])]}


class Unstorable:
    """Something no JSON has a form for and that resists being shown."""

    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


async def leave_unstorable(state: State) -> State:
    return {"steps": [Unstorable()]}


async def broken(state: State) -> State:
    raise ValueError("this node always fails")


def _chain(*nodes):
    builder = StateGraph(State)
    previous = START
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(previous, node.__name__)
        previous = node.__name__
    builder.add_edge(previous, END)
    return builder


steps = _chain(first, slow, last).compile()
turns = _chain(turn).compile()
sulks = _chain(sulk).compile()
shrugs = _chain(shrug).compile()
ticks = _chain(first, ticking, last).compile()
blocks = _chain(first, blocking, last).compile()
remembers = _chain(remember).compile()
asks_richly = _chain(ask_richly).compile()
unstorable = _chain(leave_unstorable).compile()
asks = _chain(first, ask, last).compile()
asks_twice = _chain(ask_twice).compile()
asks_twice_within = StateGraph(State).add_node("inner", asks_twice).add_edge(START, "inner").add_edge("inner", END).compile()
asks_then_sleeps = _chain(ask_then_sleep).compile()
fails = _chain(first, broken).compile()
talks = StateGraph(Talk).add_sequence([hear, put_aside, bring_back]).add_edge(START, "hear").compile()
