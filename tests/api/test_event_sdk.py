"""The official Python client's `threads.stream()`, unchanged, over server-sent events and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal
from uuid import uuid4

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.api.streams import AGENTS
from tests.support.servers import ValkeyServer

Transport = Literal["sse", "websocket"]


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(own_database_url, valkey.url, agents=AGENTS) as address:
        yield address


@pytest.fixture(scope="module")
async def sdk(url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture(params=["sse", "websocket"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
async def limited() -> AsyncIterator[None]:
    """A client that waits for what never comes waits for ever."""
    async with asyncio.timeout(60):
        yield


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.compat(
    "Event streaming", "client.threads.stream() (Python)", "messages, tool calls, values and output, over SSE and WebSocket"
)
async def test_messages_tool_calls_and_output_arrive(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="tooled", transport=transport) as thread:
        calls: list[Any] = []

        async def take_calls() -> None:
            calls.extend([call async for call in thread.tool_calls])

        taking = asyncio.create_task(take_calls())
        await thread.run.start(input=said("add"))
        messages = [message async for message in thread.messages]
        output = await thread.output
        await taking
    assert await messages[-1].text == "Done: 3"
    assert [(call.name, call.input) for call in calls] == [("add", {"a": 1, "b": 2})]
    assert [message["type"] for message in output["messages"]] == ["human", "ai", "tool", "ai"]


@pytest.mark.compat("Event streaming", "client.threads.stream() (Python): turns", "each turn of a conversation sees its own answer")
async def test_each_turn_of_a_conversation_sees_its_own_answer(sdk: LangGraphClient, transport: Transport) -> None:
    thread_id = str(uuid4())
    for turn in range(3):
        async with sdk.threads.stream(thread_id=thread_id, assistant_id="talker", transport=transport) as thread:
            await thread.run.start(input=said(f"think a little {turn}"))
            messages = [message async for message in thread.messages]
            output = await thread.output
        assert [await message.text for message in messages] == [f"think a little {turn}"]
        assert len(output["messages"]) == 2 * (turn + 1)


@pytest.mark.compat("Event streaming", "client.threads.stream() (Python): interrupts", "seen, answered, and the run goes on to its output")
async def test_an_interrupt_is_answered(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="asks", transport=transport) as thread:
        await thread.run.start(input={"text": "x"})
        while not thread.interrupted:
            await asyncio.sleep(0.05)
        assert thread.interrupts[0]["value"] == {"question": "Which colour?"}
        await thread.run.respond("blue")
        output = await thread.output
    assert output["log"] == ["answer:blue"]


async def test_subgraphs_and_channels_of_transformers_arrive(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="nested", transport=transport) as thread:
        await thread.run.start(input={"text": "x"})
        names = [handle.graph_name async for handle in thread.subgraphs]
    assert names == ["inner"]
    async with sdk.threads.stream(assistant_id="counted", transport=transport) as thread:
        await thread.run.start(input={"text": "x"})
        counts = [item async for item in thread.extensions["counts"]]
    assert [item["payload"]["seen"] for item in counts] == [1, 2]


async def test_a_run_that_fails_is_an_error_of_the_client(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="fails", transport=transport) as thread:
        await thread.run.start(input={"text": "x"})
        with pytest.raises(RuntimeError, match="failed on purpose"):
            await thread.output


@pytest.mark.compat("Event streaming", "client.threads.stream() (Python): second tab", "joins the run under way with all it told so far")
async def test_a_second_client_joins_in_the_middle(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="slow", transport=transport) as one:
        await one.run.start(input={"text": "80"})
        await asyncio.sleep(0.4)
        async with sdk.threads.stream(thread_id=one.thread_id, assistant_id="slow", transport=transport) as other:
            numbers = [event["params"]["data"]["payload"]["number"] async for event in other.subscribe(["custom"])]
            assert (await other.output)["log"] == ["counted"]
        await one.output
    assert numbers == list(range(80))


async def test_the_tree_of_a_graph_is_read_by_the_client(sdk: LangGraphClient) -> None:
    async with sdk.threads.stream(assistant_id="nested") as thread:
        await thread.run.start(input={"text": "x"})
        await thread.output
        tree = await thread.agent.get_tree(xray=True)
    assert any("inner" in str(node["id"]) for node in tree["nodes"])
