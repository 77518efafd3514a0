"""Agents whose streams the API tests look into: one with a tool, one with a transformer of its own, one that asks deep inside."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.stream import StreamChannel, StreamTransformer
from langgraph.types import interrupt
from tests.api.project.graphs import EchoState, Parrot, _chain, ask, asks, echo, fails, first, nested, second, slow, talker, waits


@tool
async def add(a: int, b: int) -> str:
    """Add two numbers."""
    get_stream_writer()({"adding": [a, b]})
    return str(a + b)


@tool
async def divide(a: int, b: int) -> str:
    """Divide one number by another."""
    return str(a // b)


async def plan(state: MessagesState) -> dict[str, Any]:
    said = state["messages"][-1]
    if said.type != "human":
        return {"messages": [await Parrot().ainvoke(state["messages"])]}
    name = "divide" if said.content == "divide" else "add"
    call = {"name": name, "args": {"a": 1, "b": 0 if name == "divide" else 2}, "id": "call-7", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


def _next(state: MessagesState) -> str:
    return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END


_tooled = StateGraph(MessagesState)
_tooled.add_node("plan", plan)
_tooled.add_node("tools", ToolNode([add, divide]))
_tooled.add_edge(START, "plan")
_tooled.add_conditional_edges("plan", _next, ["tools", END])
_tooled.add_edge("tools", "plan")
tooled = _tooled.compile()


class Counting(StreamTransformer):
    """Counts updates into a channel of its own."""

    required_stream_modes = ("updates",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._channel: StreamChannel[dict[str, int]] = StreamChannel("counts")
        self._seen = 0

    def init(self) -> dict[str, Any]:
        return {"counts": self._channel}

    def process(self, event: Any) -> bool:
        if event["method"] == "updates":
            self._seen += 1
            self._channel.push({"seen": self._seen})
        return True


counted = _chain(EchoState, first=first, second=second).compile(transformers=[Counting])


async def both(state: EchoState) -> EchoState:
    return {"log": [f"one:{interrupt('one?')}"]}


async def other(state: EchoState) -> EchoState:
    return {"log": [f"two:{interrupt('two?')}"]}


_twice = StateGraph(EchoState)
_twice.add_node("both", both)
_twice.add_node("other", other)
_twice.add_edge(START, "both")
_twice.add_edge(START, "other")
asks_twice = _twice.compile()

asks_within = _chain(EchoState, before=first, inner=_chain(EchoState, ask=ask).compile(), after=second).compile()


async def pause(state: EchoState) -> EchoState:
    """Steps that take long enough to be cut off in."""
    await asyncio.sleep(0.3)
    return {"log": ["paused"]}


steps = _chain(EchoState, **{f"step_{number}": pause for number in range(6)}).compile()

__all__ = ["asks", "asks_twice", "asks_within", "counted", "echo", "fails", "nested", "slow", "steps", "talker", "tooled", "waits"]
