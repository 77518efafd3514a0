"""Keys over HTTP: scopes, expiry, rotation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from tests.api.people import make_key, somebody
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


#: What is asked, and which of the named scopes may.
ASKED: tuple[tuple[str, str, dict[str, object], set[str]], ...] = (
    ("POST", "/threads/search", {}, {"read", "run", "write", "admin"}),
    ("GET", "/threads/{thread}", {}, {"read", "run", "write", "admin"}),
    ("GET", "/assistants/echo", {}, {"read", "run", "write", "admin"}),
    ("POST", "/threads", {}, {"run", "write", "admin"}),
    ("PATCH", "/threads/{thread}", {"metadata": {"a": 1}}, {"run", "write", "admin"}),
    ("POST", "/threads/{thread}/runs/wait", {"assistant_id": "echo", "input": {"text": "x"}}, {"run", "write", "admin"}),
    ("POST", "/runs/wait", {"assistant_id": "echo", "input": {"text": "x"}}, {"run", "write", "admin"}),
    ("POST", "/chat", {"message": "hello"}, {"run", "write", "admin"}),
    ("DELETE", "/threads/{thread}", {}, {"write", "admin"}),
    ("GET", "/audit", {}, {"admin"}),
)


@pytest.mark.compat("Authentication", "API keys with scopes", "each scope may do what its table says, and is refused the rest with 403")
@pytest.mark.parametrize("scope", ["read", "run", "write", "admin"])
async def test_a_key_may_do_what_its_scope_says_and_no_more(url: str, api_database_url: str, scope: str) -> None:
    owner = f"scoped-{uuid4()}"
    async with (
        somebody(url, api_database_url, owner) as writer,
        somebody(url, api_database_url, owner, scopes=(scope,)) as client,
    ):
        for method, path, body, may in ASKED:
            thread = (await writer.post("/threads", json={})).json()["thread_id"]
            response = await client.request(method, path.format(thread=thread), json=body if method != "GET" else None)
            assert (response.status_code == 403) is (scope not in may), (method, path, response.text)
            assert response.status_code == 403 or response.is_success, response.text
            if response.status_code == 403:
                assert response.json()["code"] == "forbidden" and "permission" in response.json()["hint"]


async def test_a_refused_key_changed_nothing(url: str, api_database_url: str) -> None:
    owner = f"refused-{uuid4()}"
    async with somebody(url, api_database_url, owner) as writer, somebody(url, api_database_url, owner, scopes=("read",)) as reader:
        thread = (await writer.post("/threads", json={"metadata": {"kept": True}})).json()["thread_id"]
        await reader.patch(f"/threads/{thread}", json={"metadata": {"kept": False}})
        await reader.delete(f"/threads/{thread}")
        assert (await writer.get(f"/threads/{thread}")).json()["metadata"] == {"kept": True}


async def test_a_key_that_reads_stops_no_run_by_leaving_it(url: str, api_database_url: str) -> None:
    owner = f"leaving-{uuid4()}"
    async with somebody(url, api_database_url, owner) as writer, somebody(url, api_database_url, owner, scopes=("read",)) as reader:
        thread = (await writer.post("/threads", json={})).json()["thread_id"]
        run = (await writer.post(f"/threads/{thread}/runs", json={"assistant_id": "echo", "input": {"text": "x"}})).json()["run_id"]
        for path in ("join", "stream"):
            where = f"/threads/{thread}/runs/{run}/{path}"
            assert (await reader.get(where, params={"cancel_on_disconnect": True})).status_code == 403
            assert (await reader.get(where)).status_code == 200
            assert (await writer.get(where, params={"cancel_on_disconnect": True})).status_code == 200


async def test_a_key_for_crons_alone_starts_no_runs_and_one_for_assistants_deletes_no_threads(url: str, api_database_url: str) -> None:
    owner = f"narrow-{uuid4()}"
    async with somebody(url, api_database_url, owner) as writer, somebody(url, api_database_url, owner, scopes=("crons:*",)) as client:
        cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "input": {"text": "x"}}
        assert (await client.post("/runs/crons", json=cron)).status_code == 403
        made = (await writer.post("/runs/crons", json=cron)).json()["cron_id"]
        assert (await client.patch(f"/runs/crons/{made}", json={"input": {"text": "y"}})).status_code == 403
        assert (await client.patch(f"/runs/crons/{made}", json={"enabled": False})).status_code == 200
        assert (await client.delete(f"/runs/crons/{made}")).status_code == 204
    async with somebody(url, api_database_url, owner) as writer, somebody(url, api_database_url, owner, scopes=("assistants:*",)) as client:
        made = (await client.post("/assistants", json={"graph_id": "echo"})).json()["assistant_id"]
        thread = (await writer.post("/threads", json={"metadata": {"assistant_id": made}})).json()["thread_id"]
        assert (await client.delete(f"/assistants/{made}", params={"delete_threads": True})).status_code == 403
        assert (await writer.get(f"/threads/{thread}")).status_code == 200
        assert (await client.delete(f"/assistants/{made}")).status_code == 204


@pytest.mark.compat("Authentication", "expiring API keys", "an expired key is refused with 401 and the moment it ended")
async def test_an_expired_key_is_told_when_it_ended(url: str, api_database_url: str) -> None:
    key = await make_key(api_database_url, "past", lifetime=timedelta(microseconds=1))
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}) as client:
        response = await client.get("/info")
    assert response.status_code == 401
    assert "this API key expired on 20" in response.json()["detail"]
    assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token", error_description="this API key expired')


@pytest.mark.compat("Authentication", "API key rotation", "old and new key reach the same threads while the grace time lasts")
async def test_after_a_rotation_both_keys_reach_the_same_threads(url: str, api_database_url: str) -> None:
    async with create_pool(api_database_url, max_size=1) as pool, httpx.AsyncClient(base_url=url) as client:
        keys, owner, old, new = ApiKeys(pool), f"rotating-{uuid4()}", generate(), generate()
        key_id = await keys.add(old, name="x", owner=owner)
        thread = (await client.post("/threads", json={}, headers={"x-api-key": old})).json()["thread_id"]
        await keys.rotate(key_id, new, grace=timedelta(hours=1))
        for key in (old, new):
            assert (await client.get(f"/threads/{thread}", headers={"x-api-key": key})).status_code == 200
