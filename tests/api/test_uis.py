"""What the open user interfaces send, as they send it: agent-chat-ui and Studio, from a browser on another origin."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

CHAT, STUDIO = "http://localhost:3000", "https://smith.langchain.com"


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that lists both pages."""
    with serving(api_database_url, valkey.url, server={"cors_origins": [CHAT, STUDIO]}) as address:
        yield address


@pytest.fixture
async def chat(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """As agent-chat-ui's page."""
    async with httpx.AsyncClient(base_url=url, timeout=30, headers={"origin": CHAT}) as client:
        yield client


@pytest.fixture
async def studio(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """As Studio's page, whose bodies are JSON called text/plain."""
    headers = {"origin": STUDIO, "content-type": "text/plain;charset=UTF-8", "x-auth-scheme": "langsmith", "user-agent": "Mozilla/5.0"}
    async with httpx.AsyncClient(base_url=url, timeout=30, headers=headers) as client:
        yield client


def events(text: str) -> list[tuple[str, Any]]:
    """Event and data of a stream's parts."""
    parts = [part.splitlines() for part in text.replace("\r\n", "\n").split("\n\n")]
    fields = [dict(line.split(": ", 1) for line in part if ": " in line and not line.startswith(":")) for part in parts]
    return [(one["event"], json.loads(one["data"])) for one in fields if "event" in one and "data" in one]


def test_of_the_reader_of_streams() -> None:
    assert events("event: a\r\ndata: 1\r\nid: 1-1\r\n\r\n: heartbeat\r\n\r\nevent: b\r\ndata: {}\r\n\r\n") == [("a", 1), ("b", {})]


async def preflight(client: httpx.AsyncClient, path: str, method: str, *headers: str) -> httpx.Headers:
    asked = {"access-control-request-method": method, "access-control-request-headers": ",".join(headers)}
    response = await client.options(path, headers=asked)
    assert response.status_code == 204
    return response.headers


@pytest.mark.compat(
    "Clients", "agent-chat-ui", "health check, history of threads, a streamed turn with tools, state, cancel: as its page calls them"
)
async def test_agent_chat_ui_talks_with_an_agent(chat: httpx.AsyncClient) -> None:
    allowed = await preflight(chat, "/threads", "POST", "content-type", "x-api-key")
    assert allowed["access-control-allow-origin"] == CHAT
    assert (await chat.get("/info")).json()["version"]
    thread = (await chat.post("/threads", json={"metadata": {"graph_id": "talker"}})).json()["thread_id"]
    body = {
        "input": {"messages": [{"id": str(uuid4()), "type": "human", "content": "calculate"}]},
        "stream_mode": ["values", "messages-tuple", "custom"],
        "stream_subgraphs": True,
        "stream_resumable": True,
        "assistant_id": "talker",
        "on_disconnect": "continue",
    }
    streamed = await chat.post(f"/threads/{thread}/runs/stream", json=body)
    assert streamed.headers["content-location"].startswith(f"/threads/{thread}/runs/")
    assert "content-location" in streamed.headers["access-control-expose-headers"]
    got = events(streamed.text)
    kinds = {kind for kind, _ in got}
    assert {"metadata", "values", "messages"} <= kinds
    messages = [data for kind, data in got if kind == "values"][-1]["messages"]
    assert [message["type"] for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[1]["tool_calls"][0]["name"] == "calculate"
    history = (await chat.post(f"/threads/{thread}/history", json={"limit": 10})).json()
    assert history[0]["values"]["messages"][-1]["content"] == "Done: 714"
    found = (await chat.post("/threads/search", json={"metadata": {"graph_id": "talker"}, "limit": 100})).json()
    assert thread in [one["thread_id"] for one in found]
    endless = (await chat.post(f"/threads/{thread}/runs", json={"assistant_id": "waits", "input": {}})).json()
    cancelled = await chat.post(f"/threads/{thread}/runs/{endless['run_id']}/cancel?wait=1&action=interrupt")
    assert cancelled.status_code < 300


@pytest.mark.compat(
    "Clients", "Studio", "assistants, schemas, drawing, a run, state at a checkpoint: as its page calls them, JSON called text/plain"
)
async def test_studio_looks_at_a_graph_and_runs_it(studio: httpx.AsyncClient) -> None:
    allowed = await preflight(studio, "/assistants/search", "POST", "content-type", "x-auth-scheme")
    assert "x-auth-scheme" in allowed["access-control-allow-headers"]
    listed = (await studio.post("/assistants/search", content=json.dumps({"metadata": {"created_by": "system"}, "limit": 100}))).json()
    assistant = next(one for one in listed if one["graph_id"] == "nested")["assistant_id"]
    assert (await studio.get(f"/assistants/{assistant}/schemas")).json()["graph_id"] == "nested"
    drawn = (await studio.get(f"/assistants/{assistant}/graph", params={"xray": "true"})).json()
    assert "inner:deep" in [node["id"] for node in drawn["nodes"]]
    thread = (await studio.post("/threads", content="{}")).json()["thread_id"]
    body = {
        "assistant_id": assistant,
        "input": {"text": "hi"},
        "stream_mode": ["debug", "messages"],
        "stream_subgraphs": True,
        "config": {},
    }
    streamed = await studio.post(f"/threads/{thread}/runs/stream", content=json.dumps(body))
    assert {kind.split("|")[0] for kind, _ in events(streamed.text)} >= {"metadata", "debug"}
    history = (await studio.post(f"/threads/{thread}/history", content=json.dumps({"limit": 100}))).json()
    assert [state["next"] for state in history[:2]] == [[], ["after"]]
    checkpoint = history[1]["checkpoint"]
    again = await studio.post(f"/threads/{thread}/state/checkpoint", content=json.dumps({"checkpoint": checkpoint, "subgraphs": True}))
    assert again.json()["next"] == ["after"]
    forked = await studio.post(f"/threads/{thread}/state", content=json.dumps({"values": {"text": "ho"}, "checkpoint": checkpoint}))
    assert forked.json()["checkpoint"]["thread_id"] == thread
