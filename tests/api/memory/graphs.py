"""Agents that read and write the store, as coroutines and in threads."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime


class Memory(TypedDict, total=False):
    text: str
    seen: list[Any]


async def remember(state: Memory, runtime: Runtime) -> Memory:
    assert runtime.store
    seen = [item.value for item in await runtime.store.asearch(("memory",), limit=100)]
    await runtime.store.aput(("memory", "coroutine"), state["text"], {"text": state["text"]})
    return {"seen": seen}


def remember_in_a_thread(state: Memory, runtime: Runtime) -> Memory:
    assert runtime.store
    runtime.store.put(("memory", "thread"), state["text"], {"text": state["text"]})
    return {"seen": [item.value for item in runtime.store.search(("memory",), query=state["text"], limit=1)]}


remembers = StateGraph(Memory).add_node("remember", remember).add_edge(START, "remember").add_edge("remember", END).compile()
remembers_in_threads = (
    StateGraph(Memory).add_node("remember", remember_in_a_thread).add_edge(START, "remember").add_edge("remember", END).compile()
)
