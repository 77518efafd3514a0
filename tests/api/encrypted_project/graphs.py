"""A graph that puts what it is told everywhere a graph can: state, messages, an interrupt, the store, its metadata."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.config import get_store
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


class State(MessagesState):
    secret: str
    large: dict[str, Any]
    topic: str
    answer: str


class Context(TypedDict, total=False):
    token: str


async def keep(state: State) -> dict[str, Any]:
    await get_store().aput(("notes",), "one", {"text": state["secret"], "topic": state["topic"]})
    return {"messages": [AIMessage(f"I keep {state['secret']}")], "large": {"parts": [state["secret"]] * 100}}


async def ask(state: State) -> dict[str, Any]:
    if state["topic"] == "fail":
        raise ValueError(f"it went wrong: {state['secret']}")
    if state["topic"] == "slow":
        await asyncio.sleep(2)
    return {"answer": interrupt({"question": f"Is {state['secret']} right?"})} if state["topic"] == "ask" else {"answer": "none"}


builder = StateGraph(State, context_schema=Context)
builder.add_node("keep", keep)
builder.add_node("ask", ask)
builder.add_edge(START, "keep")
builder.add_edge("keep", "ask")
builder.add_edge("ask", END)
keeper = builder.compile()
