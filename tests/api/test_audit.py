"""The audit log over HTTP: what is written down of real requests, and who may read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.api.people import somebody
from tests.api.serving import serving
from tests.support.servers import ValkeyServer
from websockets.asyncio.client import connect

from freehold.storage.audit import AuditFilter, AuditLog
from freehold.storage.pool import create_pool


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


async def noted(client: httpx.AsyncClient, count: int, **wanted: Any) -> list[dict[str, Any]]:
    """Entries, oldest first, once so many are there: they are written a moment after the answer."""
    for _ in range(200):
        response = await client.get("/audit", params={"limit": 1000, **wanted})
        assert response.status_code == 200, response.text
        if len(response.json()) >= count:
            return list(reversed(response.json()))
        await asyncio.sleep(0.05)
    raise AssertionError(response.text)


@pytest.mark.compat(
    "Tenants", "audit log", "who changed what is written down with the ids, and read by the administrators of an organisation"
)
async def test_what_changes_something_is_written_down_with_ids_and_outcome(url: str, api_database_url: str) -> None:
    organisation = f"org-{uuid4()}"
    async with (
        somebody(url, api_database_url, "ada", organisation=organisation) as ada,
        somebody(url, api_database_url, "boss", organisation=organisation, scopes=("admin",)) as boss,
    ):
        created = await ada.post("/threads", json={"metadata": {"secret": "s3cret"}}, headers={"x-request-id": "asked-1"})
        thread = created.json()["thread_id"]
        await ada.get(f"/threads/{thread}")
        await ada.post("/threads/search", json={})
        run = (await ada.post(f"/threads/{thread}/runs", json={"assistant_id": "echo", "input": {"text": "s3cret"}})).json()
        await ada.get(f"/threads/{thread}/runs/{run['run_id']}/join")
        await ada.post("/runs/wait", json={"assistant_id": "echo", "input": {"text": "x"}})
        await ada.delete(f"/threads/{uuid4()}")
        await ada.delete(f"/threads/{thread}")
        entries = await noted(boss, 5)
        assert [(entry["action"], entry["status"] // 100) for entry in entries] == [
            ("threads.create", 2),
            ("threads.create_run", 2),
            ("threads.create_run", 2),
            ("threads.delete", 4),
            ("threads.delete", 2),
        ]
        first, second, stateless, _, last = entries
        assert (first["owner"], first["request_id"], first["address"]) == ("ada", "asked-1", "127.0.0.1")
        assert first["credential"].startswith("key:")
        assert first["objects"] == {"thread_id": thread}
        assert second["objects"] == {"thread_id": thread, "run_id": run["run_id"]}
        assert set(stateless["objects"]) == {"thread_id", "run_id"}
        assert last["objects"] == {"thread_id": thread}
        assert "s3cret" not in str(entries) and ada.headers["x-api-key"] not in str(entries)
        assert [entry["action"] for entry in await noted(boss, 2, action="threads.delete")] == ["threads.delete"] * 2
        assert await noted(boss, 0, owner="bob") == []


async def test_objects_that_no_path_names_are_written_down_too(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, "boss", organisation=f"org-{uuid4()}", scopes=("admin",)) as boss:
        made = (await boss.post("/assistants", json={"graph_id": "echo"})).json()["assistant_id"]
        thread = (await boss.post("/threads", json={})).json()["thread_id"]
        copy = (await boss.post(f"/threads/{thread}/copy")).json()["thread_id"]
        cron = (await boss.post("/runs/crons", json={"assistant_id": "echo", "schedule": "0 0 1 1 *"})).json()["cron_id"]
        await boss.put("/store/items", json={"namespace": ["a", "b"], "key": "k", "value": {"secret": 1}})
        batch = (await boss.post("/runs/batch", json=[{"assistant_id": "echo"}] * 2)).json()
        await boss.post("/threads/prune", json={"thread_ids": [thread, copy], "strategy": "delete"})
        entries = await noted(boss, 7)
    assert [(entry["action"], entry["objects"]) for entry in entries] == [
        ("assistants.create", {"assistant_id": made}),
        ("threads.create", {"thread_id": thread}),
        ("threads.create", {"thread_id": thread, "copy_id": copy}),
        ("crons.create", {"cron_id": cron}),
        ("store.put", {"namespace": "a.b", "key": "k"}),
        ("threads.create_run", {"run_ids": " ".join(run["run_id"] for run in batch)}),
        ("threads.delete", {"thread_ids": f"{thread} {copy}"}),
    ]
    assert "secret" not in str(entries)


async def test_refusals_are_written_down_also_of_reading(url: str, api_database_url: str) -> None:
    organisation = f"org-{uuid4()}"
    async with (
        somebody(url, api_database_url, "eve", organisation=organisation, scopes=("store:get",)) as eve,
        somebody(url, api_database_url, "boss", organisation=organisation, scopes=("admin",)) as boss,
    ):
        thread = uuid4()
        assert (await eve.get(f"/threads/{thread}")).status_code == 403
        assert (await eve.get("/audit")).status_code == 403
        entries = await noted(boss, 2)
        assert [(entry["action"], entry["status"], entry["owner"]) for entry in entries] == [
            ("threads.read", 403, "eve"),
            ("audit.read", 403, "eve"),
        ]
        assert entries[0]["objects"] == {"thread_id": str(thread)}


async def test_who_is_not_recognised_is_written_down_for_the_operator_alone(url: str, api_database_url: str) -> None:
    mark = f"stranger-{uuid4()}"
    async with httpx.AsyncClient(base_url=url) as nobody:
        assert (await nobody.post("/threads", json={}, headers={"x-api-key": "fh_guess", "x-request-id": mark})).status_code == 401
        assert (await nobody.get("/info", headers={"x-request-id": mark})).status_code == 401
    async with create_pool(api_database_url, max_size=1) as pool:
        for _ in range(200):
            found = [entry for entry in await AuditLog(pool).list_all(AuditFilter(), limit=500) if entry.request_id == mark]
            if len(found) == 2:
                break
            await asyncio.sleep(0.05)
    assert [(entry.action, entry.status, entry.owner, entry.organisation) for entry in found] == [
        ("GET /info", 401, "", ""),
        ("threads.create", 401, "", ""),
    ]
    async with somebody(url, api_database_url, "boss", organisation=f"org-{uuid4()}", scopes=("admin",)) as boss:
        assert (await boss.get("/audit")).json() == []


async def test_a_websocket_that_is_refused_is_written_down(url: str, api_database_url: str) -> None:
    organisation, thread = f"org-{uuid4()}", str(uuid4())
    async with (
        somebody(url, api_database_url, "eve", organisation=organisation, scopes=("store:get",)) as eve,
        somebody(url, api_database_url, "boss", organisation=organisation, scopes=("admin",)) as boss,
    ):
        headers = {"x-api-key": eve.headers["x-api-key"]}
        async with connect(f"{url.replace('http', 'ws')}/threads/{thread}/stream/events", additional_headers=headers) as socket:
            await socket.wait_closed()
        (entry,) = await noted(boss, 1)
    assert (entry["owner"], entry["action"], entry["status"], entry["objects"]) == ("eve", "threads.read", 403, {"thread_id": thread})


async def test_nobody_reads_what_another_organisation_did(url: str, api_database_url: str) -> None:
    one, two = f"org-{uuid4()}", f"org-{uuid4()}"
    async with (
        somebody(url, api_database_url, "boss", organisation=one, scopes=("admin",)) as ours,
        somebody(url, api_database_url, "boss", organisation=two, scopes=("admin",)) as theirs,
    ):
        await ours.post("/threads", json={})
        await noted(ours, 1)
        assert (await theirs.get("/audit")).json() == []


async def test_pages_and_times_are_as_asked_for(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, "boss", organisation=f"org-{uuid4()}", scopes=("admin",)) as boss:
        for _ in range(3):
            await boss.post("/threads", json={})
        await noted(boss, 3)
        page = await boss.get("/audit", params={"limit": 2})
        assert len(page.json()) == 2 and page.headers["x-pagination-next"] == "2"
        rest = await boss.get("/audit", params={"limit": 2, "offset": 2})
        assert len(rest.json()) == 1 and "x-pagination-next" not in rest.headers
        assert (await boss.get("/audit", params={"since": "2100-01-01T00:00:00Z"})).json() == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "offset=-1", "since=yesterday", "since=2026-01-01T00:00:00", "owner=%00", "action=%00x"]
)
async def test_a_wrong_question_is_refused(url: str, api_database_url: str, query: str) -> None:
    async with somebody(url, api_database_url, "boss", scopes=("admin",)) as boss:
        assert (await boss.get(f"/audit?{query}")).status_code == 422


async def test_paths_with_characters_no_column_takes_are_written_down_all_the_same(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, "odd", organisation=(organisation := f"org-{uuid4()}"), scopes=("read",)) as odd:
        assert (await odd.delete("/threads/%00%ff")).status_code in {403, 422}
        await odd.delete(f"/threads/{uuid4()}")
        async with somebody(url, api_database_url, "boss", organisation=organisation, scopes=("admin",)) as boss:
            assert len(await noted(boss, 2)) == 2


async def test_on_loopback_without_credentials_nothing_is_written_down(api_database_url: str, valkey: ValkeyServer) -> None:
    mark = f"local-{uuid4()}"
    with serving(api_database_url, valkey.url, worker=False) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            assert (await client.post("/threads", json={}, headers={"x-request-id": mark})).status_code == 200
    async with create_pool(api_database_url, max_size=1) as pool:
        assert mark not in {entry.request_id for entry in await AuditLog(pool).list_all(AuditFilter(), limit=1000)}


async def test_it_can_be_switched_on_there_and_what_is_left_is_written_before_the_end(api_database_url: str, valkey: ValkeyServer) -> None:
    mark = f"local-{uuid4()}"
    with serving(api_database_url, valkey.url, worker=False, audit={"enabled": "on"}) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            await client.post("/threads", json={}, headers={"x-request-id": mark})
            await client.post("/threads", json={}, headers={"x-request-id": mark, "origin": "https://evil.example"})
    async with create_pool(api_database_url, max_size=1) as pool:
        found = [entry for entry in await AuditLog(pool).list_all(AuditFilter(), limit=1000) if entry.request_id == mark]
    assert [(entry.action, entry.status, entry.owner) for entry in found] == [("POST /threads", 403, ""), ("threads.create", 200, "local")]


async def command(send: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]], number: int, method: str, **params: Any) -> dict[str, Any]:
    """The answer to one command of the event streaming protocol."""
    return await send({"id": number, "method": method, "params": params})


async def test_commands_are_written_down_one_by_one_with_how_each_ended(url: str, api_database_url: str) -> None:
    """Over HTTP, where all are answered with 200, and on one WebSocket."""
    organisation, thread = f"org-{uuid4()}", str(uuid4())
    async with (
        somebody(url, api_database_url, "ada", organisation=organisation) as ada,
        somebody(url, api_database_url, "eve", organisation=organisation, scopes=("read",)) as eve,
        somebody(url, api_database_url, "boss", organisation=organisation, scopes=("admin",)) as boss,
    ):

        def over_http(client: httpx.AsyncClient) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
            async def send(message: dict[str, Any]) -> dict[str, Any]:
                answer: dict[str, Any] = (await client.post(f"/threads/{thread}/commands", json=message)).json()
                return answer

            return send

        started = await command(over_http(ada), 1, "run.start", assistant_id="echo", input={"text": "x"})
        assert started["type"] == "success", started
        refused = await command(over_http(eve), 2, "run.start", assistant_id="echo", input={"text": "x"})
        assert refused["error"] == "permission_denied"
        headers = {"x-api-key": ada.headers["x-api-key"]}
        async with connect(f"{url.replace('http', 'ws')}/threads/{thread}/stream/events", additional_headers=headers) as socket:

            async def over_socket(message: dict[str, Any]) -> dict[str, Any]:
                await socket.send(json.dumps(message))
                while (answer := json.loads(await socket.recv())).get("id") != message["id"] or answer["type"] == "event":
                    pass
                return dict(answer)

            third = await command(over_socket, 3, "run.start", assistant_id="echo", input={"text": "y"})
            assert third["type"] == "success", third
            assert (await command(over_socket, 4, "agent.getTree"))["type"] == "success"
            assert (await command(over_socket, 5, "run.start", assistant_id="there-is-none"))["type"] == "error"
        entries = await noted(boss, 4)
    assert [(entry["owner"], entry["action"], entry["status"]) for entry in entries] == [
        ("ada", "threads.create_run", 200),
        ("eve", "threads.create_run", 403),
        ("ada", "threads.create_run", 200),
        ("ada", "threads.create_run", 404),
    ]
    assert entries[0]["objects"] == {"thread_id": thread, "run_id": started["result"]["run_id"]}
    assert entries[2]["objects"] == {"thread_id": thread, "run_id": third["result"]["run_id"]}
    assert entries[3]["objects"] == {"thread_id": thread}
