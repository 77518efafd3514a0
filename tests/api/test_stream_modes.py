"""Stream modes of one run that look into it: events, tools, lifecycle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.api.streams import AGENTS
from tests.support.servers import ValkeyServer


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(own_database_url, valkey.url, agents=AGENTS) as address:
        yield address


@pytest.fixture(scope="module")
async def sdk(url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=url, api_key=None) as client:
        yield client


async def parts(sdk: LangGraphClient, graph: str, given: Any, modes: Any, **options: Any) -> list[tuple[str, Any]]:
    return [(part.event, part.data) async for part in sdk.runs.stream(None, graph, input=given, stream_mode=modes, **options)]


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.compat("Streams", "mode tools", "a tool's start with its input and its end with its output, by the call's id")
async def test_tools_are_streamed_from_start_to_end(sdk: LangGraphClient) -> None:
    found = [data for event, data in await parts(sdk, "tooled", said("add"), "tools") if event == "tools"]
    assert found[0] == {"event": "on_tool_start", "toolCallId": "call-7", "name": "add", "input": {"a": 1, "b": 2}}
    assert (found[-1]["event"], found[-1]["toolCallId"], found[-1]["name"]) == ("on_tool_end", "call-7", "add")
    assert found[-1]["output"]["content"] == "3"


@pytest.mark.compat("Streams", "mode tools: errors", "a tool that fails is on_tool_error with what it said")
async def test_a_tool_that_fails_says_so(sdk: LangGraphClient) -> None:
    found = [data for event, data in await parts(sdk, "tooled", said("divide"), "tools") if event == "tools"]
    assert [item["event"] for item in found] == ["on_tool_start", "on_tool_error"]
    assert "division" in found[1]["error"] or "modulo" in found[1]["error"]


@pytest.mark.compat("Streams", "mode lifecycle", "each subgraph's start and end with its name and namespace, without stream_subgraphs too")
async def test_subgraphs_begin_and_end(sdk: LangGraphClient) -> None:
    found = await parts(sdk, "nested", {"text": "x"}, ["lifecycle", "updates"])
    lives = [data for event, data in found if event == "lifecycle"]
    assert [(life["event"], life["namespace"] == lives[0]["namespace"]) for life in lives] == [("started", True), ("completed", True)]
    assert lives[0]["graph_name"] == "inner"
    assert lives[0]["namespace"][0].startswith("inner:")
    assert [event for event, _ in found if event.startswith("updates")] == ["updates"] * 3, "what the subgraph streams was not asked for"


async def test_a_subgraph_that_waits_for_an_answer_is_interrupted(sdk: LangGraphClient) -> None:
    found = await parts(sdk, "asks_within", {"text": "x"}, "lifecycle")
    assert [data["event"] for event, data in found if event == "lifecycle"] == ["started", "interrupted"]


@pytest.mark.compat("Streams", "mode events", "astream_events (v2) of the run: chains, models with their tokens, tools")
async def test_everything_that_happens_is_streamed_as_events(sdk: LangGraphClient) -> None:
    found = [data for event, data in await parts(sdk, "tooled", said("add"), "events") if event == "events"]
    kinds = [(item["event"], item["name"]) for item in found]
    assert kinds[0] == ("on_chain_start", "tooled")
    assert kinds[-1] == ("on_chain_end", "tooled")
    assert ("on_tool_start", "add") in kinds
    assert ("on_chat_model_stream", "Parrot") in kinds
    answer = "".join(item["data"]["chunk"]["content"] for item in found if item["event"] == "on_chat_model_stream")
    assert answer == "Done: 3"


@pytest.mark.compat("Streams", "mode events with others", "other modes stream beside events, of subgraphs as well")
async def test_events_come_with_other_modes(sdk: LangGraphClient) -> None:
    found = await parts(sdk, "nested", {"text": "x"}, ["events", "updates"], stream_subgraphs=True)
    names = [event.partition(":")[0] for event, _ in found]
    assert names.count("updates") == 3
    assert names.count("updates|inner") == 1
    assert "events" in names
    result = [data for event, data in found if event == "events" and data["event"] == "on_chain_end" and data["name"] == "nested"]
    assert result[0]["data"]["output"]["log"][-1] == "second:x"


async def test_a_graph_that_fails_with_events_says_so(sdk: LangGraphClient) -> None:
    found = await parts(sdk, "fails", {"text": "x"}, ["events"])
    assert found[-1] == ("error", {"error": "ValueError", "message": "the graph failed on purpose"})


@pytest.mark.compat("Streams", "join with a subset of the modes", "a run's own modes are narrowed by stream_mode")
async def test_a_joining_client_chooses_among_the_modes(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create()
    run = await sdk.runs.create(thread["thread_id"], "tooled", input=said("add"), stream_mode=["tools", "lifecycle", "values", "updates"])
    await sdk.runs.join(thread["thread_id"], run["run_id"])
    joined = [
        part.event async for part in sdk.runs.join_stream(thread["thread_id"], run["run_id"], stream_mode=["tools"], last_event_id="-1")
    ]
    assert joined == ["metadata", "tools", "tools"]
