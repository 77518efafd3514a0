"""A graph that keeps objects where its state does not say of what type."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.graph import StateGraph
from shapes import Other, Plan


class State(TypedDict, total=False):
    kept: dict[str, Any]
    seen: list[str]


async def keep(state: State) -> State:
    if "kept" not in state:
        return {"kept": {"plan": Plan(steps=["one"]), "other": Other(name="x")}}
    return {"seen": sorted(f"{name}: {type(value).__name__}" for name, value in state["kept"].items())}


graph = StateGraph(State).add_node("keep", keep).set_entry_point("keep").compile()
