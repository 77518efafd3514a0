"""Agents that keep messages: one answers, one asks first, one asks two things at once, one fails; and one that keeps none."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


def _agent(*nodes: Any) -> Any:
    graph = StateGraph(MessagesState)
    for node in nodes:
        graph.add_node(node.__name__, node)
        graph.add_edge(START, node.__name__)
        graph.add_edge(node.__name__, END)
    return graph.compile()


async def ask(state: MessagesState) -> dict[str, Any]:
    colour = interrupt({"question": "Which colour?"})
    return {"messages": [AIMessage(f"It is {colour}.")]}


async def first(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"first: {interrupt('first?')}")]}


async def second(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"second: {interrupt('second?')}")]}


async def speak(state: MessagesState) -> dict[str, Any]:
    said = str(state["messages"][-1].content)
    if said == "wait":
        await asyncio.sleep(600)
    return {"messages": [AIMessage(f"{len(state['messages'])}: {said}")]}


async def fail(state: MessagesState) -> dict[str, Any]:
    raise ValueError("the agent failed on purpose")


class Numbers(TypedDict):
    number: int


async def add(state: Numbers) -> Numbers:
    return {"number": state["number"] + 1}


asker = _agent(ask)
pair = _agent(first, second)
speaker = _agent(speak)
fails = _agent(fail)
silent = StateGraph(Numbers).add_node("add", add).add_edge(START, "add").add_edge("add", END).compile()
