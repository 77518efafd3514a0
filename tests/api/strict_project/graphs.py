"""A graph that asks."""

from __future__ import annotations

from typing import TypedDict

from langgraph.graph import StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    answer: str


async def ask(state: State) -> State:
    return {"answer": interrupt("may I?")}


asks = StateGraph(State).add_node("ask", ask).set_entry_point("ask").compile()
