"""Graphs that are made for each run and each read, and remember what for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import ServerRuntime


class Context(TypedDict, total=False):
    colour: str


class State(TypedDict, total=False):
    made: dict[str, Any]
    calls: list[str]


#: Access context and user of every call, in order. Server and worker of a test share it.
CALLS: list[str] = []


@asynccontextmanager
async def make(config: RunnableConfig, runtime: ServerRuntime) -> AsyncIterator[Pregel]:
    CALLS.append(f"{runtime.access_context} for {runtime.ensure_user().identity}")
    running = runtime.execution_runtime
    made = {
        "tone": config["configurable"].get("tone"),
        "colour": (running.context or {}).get("colour") if running else None,
        "team": runtime.ensure_user()["team"],
    }

    async def tell(state: State) -> State:
        await runtime.store.aput(("seen",), "last", {"by": runtime.ensure_user().identity})
        return {"made": made, "calls": list(CALLS)}

    yield StateGraph(State, context_schema=Context).add_node("tell", tell).set_entry_point("tell").compile()
