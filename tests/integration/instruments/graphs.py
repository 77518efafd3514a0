"""Agents that keep a stack busy in one known way each: with the model, with a tool, with their own code; and one that fails."""

import asyncio
import os

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph


@tool
async def dig(seconds: float) -> str:
    """Digs for a while; a negative depth is refused."""
    if seconds < 0:
        raise ValueError("one cannot dig upwards")
    await asyncio.sleep(seconds)
    return "dug"


def one_node(work):
    builder = StateGraph(MessagesState)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile()


def model() -> ChatOpenAI:
    name = os.environ.get("FREEHOLD_MODEL", "scripted")
    return ChatOpenAI(model=name, base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"], stream_usage=True)


async def ask(state: MessagesState):
    """Asks the model, as a stream, so that there is a first token."""
    answer = None
    async for part in model().bind(max_tokens=16).astream(state["messages"]):
        answer = part if answer is None else answer + part
    return {"messages": [answer]}


async def use_tool(state: MessagesState):
    try:
        await dig.ainvoke({"seconds": float(state["messages"][-1].content)})
    except ValueError:
        return {}
    return {}


async def compute(state: MessagesState):
    await model().ainvoke(state["messages"])
    await asyncio.sleep(0.3)
    return {}


async def fail(state: MessagesState):
    raise ValueError("as asked")


thinks, digs, computes, fails = one_node(ask), one_node(use_tool), one_node(compute), one_node(fail)


async def ask_nobody(state: MessagesState):
    """Asks a model at an address that nobody listens on."""
    await ChatOpenAI(model="away", base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0).ainvoke(state["messages"])


asks_nobody = one_node(ask_nobody)
