"""With keys: an assistant is its owner's, and so are the runs that are started, listed or stopped in numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

Clients = tuple[LangGraphClient, LangGraphClient]


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that needs keys."""
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture
async def clients(url: str, api_database_url: str) -> AsyncIterator[Clients]:
    """Ada and Bob, with nothing of theirs there yet."""
    async with create_pool(api_database_url, max_size=2) as pool, AsyncExitStack() as stack:
        found = []
        for name in ("ada", "bob"):
            key, owner = generate(), f"{name}-{uuid4()}"
            await ApiKeys(pool).add(key, name=name, owner=owner)
            found.append(await stack.enter_async_context(get_client(url=url, api_key=key)))
        yield found[0], found[1]


async def refusals(attempts: list[Any]) -> list[int]:
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, APIStatusError | httpx.HTTPStatusError)]
    assert len(errors) == len(attempts), answers
    return [error.response.status_code for error in errors]


@pytest.mark.compat("Assistants", "assistants of others", "not found, whatever is asked of them; a taken id is a conflict")
async def test_nobody_reaches_the_assistant_of_another(clients: Clients) -> None:
    ada, bob = clients
    mark = str(uuid4())
    made = await ada.assistants.create("told", context={"tone": "secret"}, metadata={"mark": mark}, name=f"private {mark}")
    assistant_id = made["assistant_id"]
    thread_id = (await bob.threads.create())["thread_id"]
    statuses = await refusals(
        [
            bob.assistants.get(assistant_id),
            bob.assistants.get_graph(assistant_id),
            bob.assistants.get_schemas(assistant_id),
            bob.assistants.get_subgraphs(assistant_id),
            bob.assistants.get_versions(assistant_id),
            bob.assistants.set_latest(assistant_id, 1),
            bob.assistants.update(assistant_id, name="mine"),
            bob.assistants.delete(assistant_id),
            bob.assistants.delete(assistant_id, delete_threads=True),
            bob.runs.create(None, assistant_id, input={"text": "x"}),
            bob.runs.wait(None, assistant_id, input={"text": "x"}),
            bob.runs.create(thread_id, assistant_id, input={"text": "x"}),
            bob.runs.create_batch([{"assistant_id": assistant_id, "input": {"text": "x"}}]),  # type: ignore[typeddict-item]
        ]
    )
    assert set(statuses) == {404}
    taken = [
        bob.assistants.create("echo", assistant_id=assistant_id),
        bob.assistants.create("echo", assistant_id=assistant_id, if_exists="do_nothing"),
    ]
    assert set(await refusals(taken)) == {409}
    assert await bob.assistants.search(metadata={"mark": mark}) == []
    assert await bob.assistants.search(name=mark) == []
    assert await bob.assistants.count(metadata={"mark": mark}) == 0
    assert await ada.assistants.get(assistant_id) == made


async def test_deleting_an_assistant_with_its_threads_leaves_those_of_others(clients: Clients) -> None:
    ada, bob = clients
    made = await ada.assistants.create("echo")
    theirs = await bob.threads.create(metadata={"assistant_id": made["assistant_id"]})
    mine = await ada.threads.create(metadata={"assistant_id": made["assistant_id"]})
    await ada.assistants.delete(made["assistant_id"], delete_threads=True)
    assert (await bob.threads.get(theirs["thread_id"]))["thread_id"] == theirs["thread_id"]
    assert await ada.threads.search(ids=[mine["thread_id"]]) == []


async def later(client: LangGraphClient, thread_id: str) -> str:
    return str((await client.runs.create(thread_id, "echo", input={"text": "x"}, after_seconds=3600))["run_id"])


@pytest.mark.compat("Runs", "POST /runs/cancel: status pending|running|all", "all runs of the caller in that status, and nobody else's")
async def test_runs_are_cancelled_by_status_and_only_the_callers(clients: Clients) -> None:
    ada, bob = clients
    threads = [(await ada.threads.create())["thread_id"] for _ in range(3)]
    pending = [await later(ada, thread_id) for thread_id in threads]
    theirs = (await bob.threads.create())["thread_id"]
    kept = await later(bob, theirs)
    busy = (await ada.threads.create())["thread_id"]
    running = (await ada.runs.create(busy, "waits", input={"text": "x"}))["run_id"]
    async for _ in ada.runs.join_stream(busy, running, stream_mode="updates"):
        break
    assert await refusals([bob.runs.cancel_many(thread_id=busy, run_ids=[running])]) == [404]
    assert await refusals([bob.runs.cancel_many(status="running")]) == [404]
    await ada.runs.cancel_many(status="pending")
    found = [(await ada.runs.get(thread_id, run_id))["status"] for thread_id, run_id in zip(threads, pending, strict=True)]
    assert found == ["interrupted"] * 3
    assert (await ada.runs.get(busy, running))["status"] == "running"
    await ada.runs.cancel_many(status="running")
    await ada.runs.join(busy, running)
    assert (await ada.runs.get(busy, running))["status"] == "interrupted"
    assert await refusals([ada.runs.cancel_many(status="all")]) == [404]
    assert (await bob.runs.get(theirs, kept))["status"] == "pending"
    await bob.runs.cancel_many(status="all", action="rollback")
    assert await refusals([bob.runs.get(theirs, kept)]) == [404]
    assert (await bob.threads.get(theirs))["status"] == "idle"
