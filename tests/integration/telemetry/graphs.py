"""Agents whose telemetry is tested: a model of LangChain's own class, tools without our wrapper, errors with text in them."""

import asyncio
import logging
import os
from pathlib import Path

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode


def model() -> ChatOpenAI:
    return ChatOpenAI(model="plain-model", base_url=os.environ["OPENAI_BASE_URL"], api_key="none", max_retries=0, stream_usage=True)


@tool
async def double(number: int) -> str:
    """Doubles a number."""
    if number == 13:
        raise ValueError("thirteen is not doubled")
    return f"doubled: {number * 2}"


async def talk(state: MessagesState):
    return {"messages": [await model().bind_tools([double]).ainvoke(state["messages"])]}


def after(state: MessagesState) -> str:
    return "tools" if state["messages"][-1].tool_calls else END


builder = StateGraph(MessagesState)
builder.add_node("talk", talk)
builder.add_node("tools", ToolNode([double], handle_tool_errors=True))
builder.add_edge(START, "talk")
builder.add_conditional_edges("talk", after, ["tools", END])
builder.add_edge("tools", "talk")
plain = builder.compile()


async def quote(state: MessagesState):
    logging.getLogger("my.agent").warning("about to quote", extra={"action": "quoting"})
    raise ValueError(f"cannot handle: {state['messages'][-1].content}")


failing = StateGraph(MessagesState)
failing.add_node("quote", quote)
failing.add_edge(START, "quote")
quotes = failing.compile()


async def first(state: MessagesState):
    return {}


async def wait_once(state: MessagesState):
    """Blocks the first time, so that the worker is killed here; the second time it goes on."""
    mark = Path(state["messages"][-1].content)
    if not mark.exists():
        mark.write_text("here")
        await asyncio.sleep(600)
    return {}


resuming = StateGraph(MessagesState)
resuming.add_node("first", first)
resuming.add_node("wait_once", wait_once)
resuming.add_edge(START, "first")
resuming.add_edge("first", "wait_once")
resumes = resuming.compile()
