"""Streams and waiting clients while Valkey is away or comes back empty: nobody is cut off, and losses are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.support.servers import ValkeyServer


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[ValkeyServer]:
    """One that these tests may stop."""
    server = ValkeyServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="module")
async def client(api_database_url: str, own_valkey: ValkeyServer) -> AsyncIterator[LangGraphClient]:
    with serving(api_database_url, own_valkey.url) as url:
        async with get_client(url=url, api_key=None) as made:
            yield made


async def test_a_stream_outlives_a_valkey_that_comes_back_empty(client: LangGraphClient, own_valkey: ValkeyServer) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    names, numbers = [], []
    async for part in client.runs.stream(thread_id, "slow", input={"text": "150"}, stream_mode=["custom", "values"]):
        names.append(part.event)
        if part.event == "custom":
            numbers.append(part.data["number"])
        if len(numbers) == 30 and "restarted" not in names:
            names.append("restarted")
            await asyncio.to_thread(own_valkey.stop, kill=True)
            await asyncio.to_thread(own_valkey.start)
    assert numbers == sorted(set(numbers)), "no duplicate, no disorder"
    assert numbers == list(range(150)) or "gap" in names, "a loss is told"
    assert numbers[-1] == 149
    assert part.data["log"] == ["counted"]


async def test_events_that_are_gone_are_told_as_a_gap_with_the_state(client: LangGraphClient, own_valkey: ValkeyServer) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "echo", input={"text": "x"})
    values = await client.runs.join(thread_id, run["run_id"])
    async with redis.asyncio.Redis.from_url(own_valkey.url) as valkey:
        await valkey.flushall()
    parts = [part async for part in client.runs.join_stream(thread_id, run["run_id"], last_event_id="1-2")]
    assert [(part.event, part.id) for part in parts] == [("gap", "1-2"), ("values", "1-2")]
    assert parts[1].data == values
    assert await client.runs.join(thread_id, run["run_id"]) == values


async def test_a_hole_in_a_running_stream_is_told_with_the_state_so_far(client: LangGraphClient, own_valkey: ValkeyServer) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "slow", input={"text": "100"}, stream_mode="custom", durability="sync")
    async for part in client.runs.join_stream(thread_id, run["run_id"]):
        if part.event == "custom" and part.data["number"] >= 10:
            break
    async with redis.asyncio.Redis.from_url(own_valkey.url) as valkey:
        await valkey.delete(f"freehold:run:{run['run_id']}")
        while not await valkey.exists(f"freehold:run:{run['run_id']}"):
            await asyncio.sleep(0.01)
    parts = [part async for part in client.runs.join_stream(thread_id, run["run_id"], last_event_id="1-3")]
    assert [part.event for part in parts[:3]] == ["gap", "values", "custom"]
    assert parts[1].data == {"text": "100", "log": []}
    numbers = [part.data["number"] for part in parts if part.event == "custom"]
    assert numbers == list(range(numbers[0], 100))


async def test_an_event_lost_between_others_is_told_too(client: LangGraphClient, own_valkey: ValkeyServer) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "echo", input={"text": "x"})
    values = await client.runs.join(thread_id, run["run_id"])
    async with redis.asyncio.Redis.from_url(own_valkey.url) as valkey:
        assert await valkey.xdel(f"freehold:run:{run['run_id']}", "1-2") == 1
    parts = [part async for part in client.runs.join_stream(thread_id, run["run_id"], last_event_id="0-0")]
    assert [(part.event, part.id) for part in parts[:3]] == [("metadata", "1-1"), ("gap", "1-1"), ("values", "1-1")]
    assert parts[2].data == values


async def test_runs_are_accepted_and_answered_without_valkey(client: LangGraphClient, own_valkey: ValkeyServer) -> None:
    own_valkey.stop(kill=True)
    try:
        values = await client.runs.wait(None, "echo", input={"text": "x"})
    finally:
        own_valkey.start()
    assert values["log"] == ["first:x:plain", "second:x"]
