"""An agent that tells what it was configured with."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph


class Seen(TypedDict, total=False):
    seen: dict[str, Any]


async def look(state: Seen, config: RunnableConfig) -> Seen:
    return {"seen": {name: value for name, value in config["configurable"].items() if not name.startswith("__") and isinstance(value, str)}}


graph = StateGraph(Seen).add_node("look", look).set_entry_point("look").compile()
