"""With keys: who may do what, and that nobody sees what is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


@dataclass(frozen=True)
class Owner:
    """Somebody with a key."""

    key: str
    client: LangGraphClient


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that needs keys."""
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture(scope="module")
async def owners(url: str, api_database_url: str) -> AsyncIterator[tuple[Owner, Owner]]:
    """Ada and Bob."""
    keys = {"ada": generate(), "bob": generate()}
    async with create_pool(api_database_url, max_size=2) as pool, AsyncExitStack() as stack:
        for owner, key in keys.items():
            await ApiKeys(pool).add(key, name=owner, owner=owner)
        ada, bob = [Owner(key, await stack.enter_async_context(get_client(url=url, api_key=key))) for key in keys.values()]
        yield ada, bob


@pytest.mark.parametrize(
    "path", ["/info", "/metrics", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/v1/models", "/assistants/echo", "/runs/crons/x"]
)
async def test_everything_but_health_needs_a_key(url: str, path: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(url + path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/ok", "/ok?check_db=1", "/health"])
async def test_health_is_public(url: str, path: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(url + path)).status_code == 200


async def test_the_public_page_names_no_agents(url: str) -> None:
    async with httpx.AsyncClient() as client:
        page = (await client.get(url, headers={"accept": "text/html"})).text
    assert "talker" not in page


async def test_a_key_works_in_either_header(url: str, owners: tuple[Owner, Owner]) -> None:
    key = owners[0].key
    async with httpx.AsyncClient() as client:
        for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"bearer {key}"}):
            assert (await client.get(f"{url}/info", headers=headers)).status_code == 200


WRONG: tuple[dict[str, str], ...] = (
    {"x-api-key": "fh_wrong"},
    {"x-api-key": "é"},
    {"authorization": "Basic abc"},
    {"authorization": "Bearer"},
)


@pytest.mark.parametrize("headers", WRONG)
async def test_a_wrong_key_is_refused(url: str, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient() as client:
        encoded = {name: value.encode() for name, value in headers.items()}
        assert (await client.get(f"{url}/info", headers=encoded)).status_code == 401  # type: ignore[arg-type]


async def test_any_host_is_served_to_those_with_a_key(url: str, owners: tuple[Owner, Owner]) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{url}/info", headers={"host": "agents.example", "x-api-key": owners[0].key})
    assert response.status_code == 200


async def test_nobody_reaches_the_thread_of_another(url: str, owners: tuple[Owner, Owner]) -> None:
    ada, bob = (owner.client for owner in owners)
    thread_id = (await ada.threads.create(metadata={"secret": True}))["thread_id"]
    run = await ada.runs.create(thread_id, "slow", input={"text": "20"}, stream_mode="custom")
    run_id = run["run_id"]
    attempts = [
        bob.threads.get(thread_id),
        bob.threads.update(thread_id, metadata={"x": 1}),
        bob.threads.delete(thread_id),
        bob.threads.create(thread_id=thread_id),
        bob.threads.create(thread_id=thread_id, if_exists="do_nothing"),
        bob.threads.get_state(thread_id),
        bob.threads.update_state(thread_id, {"text": "y"}, as_node="count"),
        bob.threads.get_history(thread_id),
        bob.runs.create(thread_id, "echo", input={"text": "x"}),
        bob.runs.create(thread_id, "echo", input={"text": "x"}, if_not_exists="create"),
        bob.runs.create(thread_id, "echo", input={"text": "x"}, multitask_strategy="rollback"),
        bob.runs.list(thread_id),
        bob.runs.get(thread_id, run_id),
        bob.runs.join(thread_id, run_id),
        bob.runs.cancel(thread_id, run_id),
        bob.runs.delete(thread_id, run_id),
        anext(bob.runs.join_stream(thread_id, run_id)),
    ]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    statuses = [error.response.status_code for error in answers if isinstance(error, APIStatusError | httpx.HTTPStatusError)]
    assert len(statuses) == len(attempts), answers
    assert set(statuses) <= {404, 409}
    assert await bob.threads.search(metadata={"secret": True}) == []
    assert await bob.threads.search(ids=[thread_id]) == []
    assert (await ada.runs.join(thread_id, run_id))["log"] == ["counted"]
    assert (await ada.threads.get(thread_id))["metadata"]["secret"] is True


async def test_two_people_may_give_their_conversations_the_same_name(url: str, owners: tuple[Owner, Owner]) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        for owner in owners:
            body = {"message": f"I am {owner.key}", "thread_id": "test-1"}
            response = await client.post("/chat", json=body, headers={"x-api-key": owner.key})
            assert response.json()["thread_id"] == "test-1"
    for owner in owners:
        (thread,) = await owner.client.threads.search(metadata={"graph_id": "talker"})
        assert [message["content"] for message in thread["values"]["messages"]] == [f"I am {owner.key}"] * 2  # type: ignore[index]


async def test_a_revoked_key_stops_working_within_seconds(url: str, api_database_url: str) -> None:
    key = generate()
    async with create_pool(api_database_url, max_size=2) as pool, httpx.AsyncClient(headers={"x-api-key": key}) as client:
        key_id = await ApiKeys(pool).add(key, name="short-lived", owner="eve")
        assert (await client.get(f"{url}/info")).status_code == 200
        await ApiKeys(pool).revoke(key_id)
        async with asyncio.timeout(5):
            while (await client.get(f"{url}/info")).status_code != 401:
                await asyncio.sleep(0.2)
