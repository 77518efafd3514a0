"""LangGraph's RemoteGraph, which makes a graph served here a node of somebody else's graph."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server_url, api_key=None) as client:
        yield client


def remote(client: LangGraphClient, graph: str) -> RemoteGraph:
    return RemoteGraph(graph, client=client)


async def on_thread(client: LangGraphClient) -> RunnableConfig:
    return {"configurable": {"thread_id": (await client.threads.create())["thread_id"]}}


@pytest.mark.compat("Clients", "RemoteGraph: ainvoke, astream", "a served graph is called like a local one, with modes and its config")
async def test_it_is_invoked_and_streamed_like_a_local_graph(client: LangGraphClient) -> None:
    graph = remote(client, "echo")
    values = await graph.ainvoke({"text": "hi"}, {"configurable": {"tone": "kind"}})
    assert values["log"] == ["first:hi:kind", "second:hi"]
    steps = [part async for part in graph.astream({"text": "hi"}, stream_mode="updates")]
    assert [next(iter(step)) for step in steps] == ["first", "second"]
    both = [part.event async for part in graph.astream({"text": "hi"}, stream_mode=["values", "updates"])]
    assert set(both) == {"values", "updates"}


@pytest.mark.compat("Clients", "RemoteGraph: messages", "tokens arrive as message chunks with their metadata")
async def test_tokens_are_streamed(client: LangGraphClient) -> None:
    stream = remote(client, "talker").astream({"messages": [{"role": "user", "content": "one two three"}]}, stream_mode="messages")
    pieces = [(message["content"], metadata["langgraph_node"]) async for message, metadata in stream]
    assert "".join(text for text, _ in pieces) == "one two three"
    assert {node for _, node in pieces} == {"talk"}


@pytest.mark.compat("Clients", "RemoteGraph: state", "state, history and updates of a remote thread, also with its subgraphs")
async def test_state_is_read_and_changed(client: LangGraphClient) -> None:
    graph, config = remote(client, "echo"), await on_thread(client)
    await graph.ainvoke({"text": "hi"}, config)
    snapshot = await graph.aget_state(config)
    assert snapshot.values["log"] == ["first:hi:plain", "second:hi"]
    assert snapshot.next == ()
    await graph.aupdate_state(config, {"log": ["by hand"]}, as_node="second")
    assert (await graph.aget_state(config)).values["log"][-1] == "by hand"
    history = [state async for state in graph.aget_state_history(config)]
    assert next(state.metadata["source"] for state in history if state.metadata) == "update"
    nested, place = remote(client, "nested"), await on_thread(client)
    streamed = [part async for part in nested.astream({"text": "hi"}, place, stream_mode="updates", subgraphs=True)]
    assert any(namespace and "deep" in update for namespace, update in streamed)
    assert (await nested.aget_state(place, subgraphs=True)).values["log"]


@pytest.mark.compat("Clients", "RemoteGraph: interrupts", "a question interrupts, and Command(resume=...) answers it")
async def test_a_question_is_answered(client: LangGraphClient) -> None:
    graph, config = remote(client, "asks"), await on_thread(client)
    await graph.ainvoke({"text": "hi"}, config)
    snapshot = await graph.aget_state(config)
    assert snapshot.next == ("ask",)
    assert snapshot.tasks[0].interrupts[0].value == {"question": "Which colour?"}
    assert (await graph.ainvoke(Command(resume="red"), config))["log"] == ["answer:red"]


@pytest.mark.compat("Clients", "RemoteGraph: drawing", "get_graph gives nodes and edges, xray those of subgraphs too")
async def test_it_is_drawn(client: LangGraphClient) -> None:
    graph = remote(client, "nested")
    assert {"before", "inner", "after"} <= set((await graph.aget_graph()).nodes)
    assert "inner:deep" in (await graph.aget_graph(xray=True)).nodes


@pytest.mark.compat("Clients", "RemoteGraph as a node", "a local graph has it as a subgraph; its thread is kept here under the same id")
async def test_it_is_a_node_of_a_local_graph(client: LangGraphClient) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("talker", remote(client, "talker"))
    builder.add_edge(START, "talker")
    builder.add_edge("talker", END)
    local = builder.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": str(uuid4())}}
    values: dict[str, Any] = await local.ainvoke({"messages": [HumanMessage("hello there")]}, config)
    assert values["messages"][-1].content == "hello there"


async def test_an_unknown_graph_is_an_error_that_says_so(client: LangGraphClient) -> None:
    from langgraph_sdk.errors import NotFoundError

    with pytest.raises(NotFoundError, match="no assistant"):
        await remote(client, "ecoh").ainvoke({"text": "hi"})
