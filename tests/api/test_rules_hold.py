"""A project's own rules hold on every way in: what they decide over is what is acted on, and what they set is what a run gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from tests.api.serving import serving
from tests.api.strict_project.auth import CLOSED
from tests.support.servers import ValkeyServer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

PROJECT = Path(__file__).parent / "strict_project" / "langgraph.json"
ELSEWHERE = "https://evil.example"
FRIEND = "https://friend.example"

People = dict[str, httpx.AsyncClient]


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server whose project says who may do what."""
    with serving(own_database_url, valkey.url, agents={"config": PROJECT, "shipped": False}) as address:
        yield address


@pytest.fixture(scope="module")
def public_url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """The same as others than this machine reach it."""
    server = {"auth": "keys", "cors_origins": [FRIEND]}
    with serving(own_database_url, valkey.url, worker=False, agents={"config": PROJECT, "shipped": False}, server=server) as address:
        yield address


@pytest.fixture(scope="module")
async def people(url: str) -> AsyncIterator[People]:
    """Ann and Bob of one organisation."""
    async with AsyncExitStack() as stack:
        clients = {
            name: httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {name}"}, timeout=30) for name in ("ann", "bob")
        }
        yield {name: await stack.enter_async_context(client) for name, client in clients.items()}


async def test_a_handler_sees_the_thread_of_the_path_whatever_the_body_names(people: People) -> None:
    ann = people["ann"]
    assert (await ann.post("/threads", json={"thread_id": CLOSED})).status_code == 200
    other = (await ann.post("/threads", json={})).json()["thread_id"]
    for body in ({"metadata": {"x": 1}}, {"metadata": {"x": 1}, "thread_id": other}):
        assert (await ann.patch(f"/threads/{CLOSED}", json=body)).status_code == 403
    assert (await ann.patch(f"/threads/{other}", json={"thread_id": CLOSED})).status_code == 200
    assert "x" not in (await ann.get(f"/threads/{CLOSED}")).json()["metadata"]


async def test_what_a_handler_writes_is_stored_where_the_body_is_null(people: People) -> None:
    made = await people["bob"].post("/threads", content="null")
    assert made.json()["metadata"] == {"owner": "bob"}


async def test_a_tool_call_gets_what_a_handler_sets(people: People) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {"identity": ""}}}
    answer = await people["bob"].post("/mcp", json=call, headers={"accept": "application/json"})
    assert answer.json()["result"]["structuredContent"]["team"] == "blue", answer.text


async def test_runs_of_a_cron_get_what_a_handler_sets_and_not_what_a_client_forged(people: People) -> None:
    bob = people["bob"]
    thread = (await bob.post("/threads", json={})).json()["thread_id"]
    forged = {"config": {"configurable": {"team": "red"}}, "metadata": {"asked_by": "ann"}}
    asked = {"assistant_id": "whoami", "schedule": "* * * * * *", "input": {"identity": ""}}
    made = await bob.post(f"/threads/{thread}/runs/crons", json={**asked, **forged, "enabled": False})
    assert made.status_code == 200, made.text
    path = f"/runs/crons/{made.json()['cron_id']}"
    assert (await bob.patch(path, json={**forged, "enabled": True})).status_code == 200
    async with asyncio.timeout(30):
        while (state := (await bob.get(f"/threads/{thread}/state")).json())["values"].get("team") is None:
            await asyncio.sleep(0.1)
    await bob.delete(path)
    assert state["values"]["team"] == "blue"
    runs = (await bob.get(f"/threads/{thread}/runs")).json()
    assert {run["metadata"]["asked_by"] for run in runs} == {"bob"}


async def test_who_answers_a_question_goes_on_with_the_threads_assistant_and_is_asked_about_no_other(people: People) -> None:
    bob = people["bob"]
    assert (await bob.post("/assistants", json={"assistant_id": CLOSED, "graph_id": "asks"})).status_code == 200
    opened = (await bob.post("/assistants", json={"graph_id": "asks"})).json()["assistant_id"]
    thread = (await bob.post("/threads", json={})).json()["thread_id"]
    asked = (await bob.post(f"/threads/{thread}/runs/wait", json={"assistant_id": opened, "input": {"answer": ""}})).json()
    answer = {"interrupt_id": asked["__interrupt__"][0]["id"], "response": "yes", "assistant_id": opened}
    said = []
    for named in (CLOSED, opened):
        await bob.patch(f"/threads/{thread}", json={"metadata": {"assistant_id": named}})
        command = {"id": 1, "method": "input.respond", "params": answer}
        said.append((await bob.post(f"/threads/{thread}/commands", json=command)).json())
    assert [one["type"] for one in said] == ["error", "success"], said
    assert said[0]["error"] == "permission_denied"


async def test_a_page_of_another_site_does_nothing_with_the_cookies_of_its_reader(public_url: str) -> None:
    async with httpx.AsyncClient(base_url=public_url, headers={"cookie": "who=ann"}) as browser:
        for headers in (
            {"origin": public_url},
            {"origin": FRIEND},
            {"origin": "https://proxied.example", "sec-fetch-site": "same-origin"},
            {},
        ):
            assert (await browser.post("/threads", json={}, headers=headers)).status_code == 200, headers
        for headers in ({"origin": ELSEWHERE}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            answer = await browser.post("/threads", content="{}", headers={**headers, "content-type": "text/plain"})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        with_its_own = {"origin": ELSEWHERE, "authorization": "Bearer bob"}
        assert (await browser.post("/threads", json={}, headers=with_its_own)).json()["metadata"]["owner"] == "bob"


async def test_a_page_of_another_site_opens_no_websocket_with_cookies_and_a_credential_it_made_up(public_url: str) -> None:
    address = f"{public_url.replace('http', 'ws', 1)}/threads/{CLOSED}/stream/events"
    offered = [Subprotocol("v1"), Subprotocol("x-api-key.made-up")]
    async with connect(address, origin=Origin(ELSEWHERE), subprotocols=offered, additional_headers={"cookie": "who=ann"}) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
    assert closed.value.rcvd and closed.value.rcvd.code == 4401
    bearer = [Subprotocol("v1"), Subprotocol("bearer.ann")]
    async with connect(address, origin=Origin(ELSEWHERE), subprotocols=bearer, additional_headers={"cookie": "who=bob"}) as socket:
        await socket.send('{"id": 1, "method": "agent.getTree", "params": {}}')
        assert '"id":1' in str(await asyncio.wait_for(socket.recv(), 10)).replace(" ", "")


async def test_people_a_project_tells_apart_by_another_header_are_not_taken_for_each_other(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        for name in ("ann", "bob"):
            made = await client.post("/threads", json={}, headers={"x-who": name})
            assert made.json()["metadata"]["owner"] == name
            made = await client.post("/threads", json={}, headers={"cookie": f"who={name}"})
            assert made.json()["metadata"]["owner"] == name
