"""What of a request comes through the edge: ids, bodies, streams; and what strangers send to get more."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import Any

import httpx
import pytest
import websockets
from langgraph_sdk import get_client
from openai import AsyncOpenAI
from tests.api.edge.conftest import Front
from tests.support.edge import raw, status, trusting


def start(front: Front, request: str = "GET /ok HTTP/1.1") -> str:
    return f"{request}\r\nHost: localhost:{front.nginx.ports['https']}\r\n"


async def test_a_request_id_that_is_well_formed_is_kept_and_any_other_made_anew(front: Front) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with front.client() as client:
        own = await client.get("/models/v1/models", headers={"x-request-id": "mine-1", "traceparent": trace, "tracestate": "a=b"})
        bad = await client.get("/models/v1/models", headers={"x-request-id": "a b", "traceparent": "00-x", "tracestate": "a=b"})
        kept = await client.get("/ok", headers={"x-request-id": "mine-2"})
    told, made = own.json()["headers"], bad.json()["headers"]
    assert (told["x-request-id"], told["traceparent"], told["tracestate"]) == ("mine-1", trace, "a=b")
    assert len(made["x-request-id"]) == 32 and not {"traceparent", "tracestate"} & made.keys()
    assert kept.headers["x-request-id"] == "mine-2"


async def test_the_log_tells_of_requests_and_never_their_queries_or_credentials(front: Front) -> None:
    hidden = {"authorization": "Bearer hush-token", "x-api-key": "hush-key", "cookie": "hush=cookie", "referer": "https://x/?hush-referer"}
    async with front.client(key=False) as client:
        await client.get("/info?api_key=hush-query", headers={**hidden, "x-request-id": "logged-1"})
    line = json.loads(front.nginx.logged("logged-1"))
    assert (line["path"], line["status"], line["address"]) == ("/info", "401", "127.0.0.1")
    assert "hush" not in front.nginx.log


async def test_what_the_server_writes_down_of_a_request_has_its_id_and_the_address_that_the_edge_saw(front: Front) -> None:
    async with front.client() as client:
        await client.post("/threads", json={}, headers={"x-forwarded-for": "6.6.6.6", "x-request-id": "audited-1"})
    async with httpx.AsyncClient(base_url=front.server_url, headers={"x-api-key": front.admin_key}) as direct:
        found: list[Any] = []
        while not found:  # written in batches
            entries = (await direct.get("/audit", params={"limit": 1000})).json()
            found = [entry["address"] for entry in entries if entry["request_id"] == "audited-1"]
    assert found == ["127.0.0.1"]


async def test_the_official_client_streams_through_the_edge(front: Front) -> None:
    async with get_client(url=front.url, api_key=front.write_key) as sdk:
        sdk.http.client = httpx.AsyncClient(
            base_url=front.url, verify=trusting(front.nginx), headers={"x-api-key": front.write_key}, timeout=60
        )
        async with sdk.http.client:
            parts = [part async for part in sdk.runs.stream(None, "echo", input={"messages": [{"role": "user", "content": "hi"}]})]
    assert [part.event for part in parts if part.event == "error"] == []
    assert parts[0].event == "metadata" and len(parts) > 1


async def test_events_arrive_one_by_one_and_not_at_the_end(front: Front) -> None:
    async with front.client() as client:
        started = (await client.post("/threads", json={})).json()["thread_id"]
        async with client.stream(
            "POST", f"/threads/{started}/runs/stream", json={"assistant_id": "slow", "input": {}, "stream_mode": ["values"]}
        ) as answer:
            first = await anext(answer.aiter_raw())
    assert b"metadata" in first and b"event: end" not in first
    assert "content-encoding" not in answer.headers


async def test_websockets_are_let_through_with_their_credential(front: Front) -> None:
    async with front.client() as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
    address = f"wss://127.0.0.1:{front.nginx.ports['https']}/threads/{thread}/stream/events"
    async with websockets.connect(address, ssl=trusting(front.nginx), additional_headers={"x-api-key": front.write_key}) as connection:
        await connection.ping()
    with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
        async with websockets.connect(address, ssl=trusting(front.nginx)) as connection:
            await connection.recv()


async def test_openais_client_finds_the_agents(front: Front) -> None:
    async with (
        httpx.AsyncClient(verify=trusting(front.nginx)) as http,
        AsyncOpenAI(base_url=f"{front.url}/v1", api_key=front.write_key, http_client=http) as client,
    ):
        assert [model.id async for model in client.models.list()]


async def test_bodies_over_the_limit_are_refused_by_length_and_by_bytes(front: Front) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * 65536

    async with front.client() as client:
        declared = await client.post("/threads", content=b" " * 2_000_000)
        try:
            counted = (await client.post("/threads", content=pieces())).status_code
        except httpx.TransportError:
            counted = 413  # the edge had answered and closed before all was sent
    assert (declared.status_code, counted) == (413, 413)
    assert declared.json()["code"] == "too_large"


SMUGGLED = {
    "length and chunks": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length that is no number": "Content-Length: +5\r\n\r\nhello",
    "a negative length": "Content-Length: -5\r\n\r\nhello",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "codings in two lines": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a bad chunk size": "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": "Transfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond all numbers": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n",
    "a second host": "Host: evil.example\r\n\r\n",
    "a folded header": "X-One: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": "X-One: a\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a null byte": "X-One: a\x00b\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_no_second_request_gets_through_within_a_first(front: Front, rest: str) -> None:
    before = len(front.behind.asked)
    hidden = f"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\nx-api-key: {front.write_key}\r\nConnection: close\r\n\r\n"
    answer = raw(
        front.nginx, (start(front, "POST /models/v1/embeddings HTTP/1.1") + f"x-api-key: {front.write_key}\r\n" + rest + hidden).encode()
    )
    reached = [asked["path"] for asked in front.behind.asked[before:]]
    assert "/v1/smuggled" not in reached
    assert all(
        asked["headers"].get("transfer-encoding") is None or "content-length" not in asked["headers"]
        for asked in front.behind.asked[before:]
    )
    assert answer.count(b"HTTP/1.1 200") <= 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("X-Long: " + "a" * 20_000 + "\r\n", 400),
        ("".join(f"X-{number}: {'a' * 8000}\r\n" for number in range(20)), 400),
        ("Authorization: Bearer " + "a" * 12_000 + "\r\n", 200),
    ],
    ids=["one header too long", "too much of them", "a long token"],
)
def test_headers_are_taken_up_to_a_length(front: Front, headers: str, expected: int) -> None:
    assert status(raw(front.nginx, (start(front) + headers + "Connection: close\r\n\r\n").encode())) == expected


def test_a_request_line_that_is_too_long_is_refused(front: Front) -> None:
    assert status(raw(front.nginx, (start(front, f"GET /{'a' * 20_000} HTTP/1.1") + "\r\n").encode())) == 414


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", ["GET /ok HTTP/1.1\r\nHost: localhost\r\n", "POST /threads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_client_that_never_ends_its_request_is_let_go(front: Front, sent: str) -> None:
    key = f"x-api-key: {front.write_key}\r\n"
    text = sent.replace("Content-Length", key + "Content-Length")
    assert status(await asyncio.to_thread(raw, front.nginx, text.encode(), seconds=60)) in {0, 408}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_of_today_is_spoken(front: Front, version: ssl.TLSVersion) -> None:
    context = trusting(front.nginx)
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", front.nginx.ports["https"]))
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        cipher = connection.cipher()
    assert cipher and ("GCM" in cipher[0] or "POLY1305" in cipher[0])


def test_plain_http_on_the_port_for_https_is_refused(front: Front) -> None:
    assert httpx.get(f"http://127.0.0.1:{front.nginx.ports['https']}/ok").status_code == 400
