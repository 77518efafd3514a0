"""Runs, driven by the official SDK."""

from __future__ import annotations

from langgraph_sdk.client import LangGraphClient


async def test_wait_gives_the_values_the_graph_left(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create()
    values = await sdk.runs.wait(thread["thread_id"], "echo", input={"text": "hi"})
    assert values == {"text": "hi", "log": ["first:hi:plain", "second:hi"]}


async def test_stream_begins_with_metadata_and_gives_the_modes_asked_for(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create()
    parts = [part async for part in sdk.runs.stream(thread["thread_id"], "echo", input={"text": "hi"}, stream_mode=["updates", "values"])]
    assert parts[0].event == "metadata"
    assert parts[0].data["attempt"] == 1
    assert [part.data for part in parts if part.event == "updates"] == [
        {"first": {"log": ["first:hi:plain"]}},
        {"second": {"log": ["second:hi"]}},
    ]
    assert [part for part in parts if part.event == "values"][-1].data == {"text": "hi", "log": ["first:hi:plain", "second:hi"]}


async def test_create_runs_in_the_background_until_joined(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create()
    run = await sdk.runs.create(thread["thread_id"], "echo", input={"text": "later"})
    assert run["status"] == "pending"
    assert await sdk.runs.join(thread["thread_id"], run["run_id"]) == {"text": "later", "log": ["first:later:plain", "second:later"]}
    assert (await sdk.runs.get(thread["thread_id"], run["run_id"]))["status"] == "success"
