"""An agent that tells what it was configured with."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph


class Seen(TypedDict, total=False):
    seen: dict[str, Any]


async def look(state: Seen, config: RunnableConfig) -> Seen:
    return {"seen": {name: value for name, value in config["configurable"].items() if not name.startswith("__") and isinstance(value, str)}}


async def wait(state: Seen) -> Seen:
    await asyncio.sleep(600)
    return {}


waits = StateGraph(Seen).add_node("wait", wait).set_entry_point("wait").compile()
graph = StateGraph(Seen).add_node("look", look).set_entry_point("look").compile()
