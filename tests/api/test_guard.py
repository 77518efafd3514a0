"""What browsers may do to a server on loopback without keys, and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

FRIEND = "http://localhost:3000"


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that lists one origin and takes bodies of 64 KiB at most."""
    with serving(
        api_database_url, valkey.url, worker=False, server={"cors_origins": [FRIEND]}, limits={"request_body_mb": 0.0625}
    ) as address:
        yield address


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_loopback_names_with_our_port_are_served(url: str, name: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{url}/ok", headers={"host": f"{name}:{port_of(url)}"})
    assert response.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost", "localhost:1", "127.0.0.1.evil.example:{port}", ""])
async def test_any_other_host_is_refused_as_a_rebound_name(url: str, host: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(f"{url}/threads/search", json={}, headers={"host": host.format(port=port_of(url))})
    assert response.status_code == 421
    assert response.json()["code"] == "forbidden_host"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "https://localhost:3000", "file://"])
async def test_a_page_of_another_origin_gets_nothing(url: str, origin: str) -> None:
    async with httpx.AsyncClient() as client:
        posted = await client.post(
            f"{url}/runs", content='{"assistant_id": "echo"}', headers={"origin": origin, "content-type": "text/plain"}
        )
        asked = await client.get(f"{url}/info", headers={"origin": origin})
    assert (posted.status_code, asked.status_code) == (403, 403)
    assert "cors_origins" in posted.json()["hint"]
    assert "access-control-allow-origin" not in posted.headers


async def test_a_cross_site_request_without_an_origin_is_refused_unless_it_opens_a_page(url: str) -> None:
    async with httpx.AsyncClient() as client:
        posted = await client.post(f"{url}/runs", json={}, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"})
        embedded = await client.get(f"{url}/info", headers={"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"})
        opened = await client.get(f"{url}/ok", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert (posted.status_code, embedded.status_code, opened.status_code) == (403, 403, 200)


async def test_our_own_pages_may_call_us(url: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(f"{url}/threads/search", json={}, headers={"origin": f"http://localhost:{port_of(url)}"})
    assert response.status_code == 200


@pytest.mark.compat("System", "CORS", "pages of listed origins may call and read pagination and location headers")
async def test_a_listed_origin_is_served_and_told_what_it_may_read(url: str) -> None:
    async with httpx.AsyncClient() as client:
        preflight = await client.options(
            f"{url}/threads/search",
            headers={
                "origin": FRIEND,
                "access-control-request-method": "POST",
                "access-control-request-headers": "x-api-key,content-type",
                "access-control-request-private-network": "true",
            },
        )
        response = await client.post(f"{url}/threads/search", json={}, headers={"origin": FRIEND})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == FRIEND
    assert preflight.headers["access-control-allow-headers"] == "x-api-key,content-type"
    assert preflight.headers["access-control-allow-private-network"] == "true"
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert "content-location" in response.headers["access-control-expose-headers"]


@pytest.mark.compat("System", "bodies called text/plain", "JSON is read whatever its content type, as Studio sends it")
async def test_json_is_read_whatever_its_content_type(url: str) -> None:
    async with httpx.AsyncClient() as client:
        for kind in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/json"):
            response = await client.post(f"{url}/threads", content='{"metadata": {"a": 1}}', headers={"content-type": kind})
            assert response.json()["metadata"] == {"a": 1}


async def test_a_body_too_large_is_refused_by_its_length_and_by_its_bytes(url: str) -> None:
    async def pieces() -> object:
        for _ in range(200):
            yield b" " * 1024

    async with httpx.AsyncClient() as client:
        declared = await client.post(f"{url}/threads", content=b" " * 70_000)
        counted = await client.post(f"{url}/threads", content=pieces())  # type: ignore[arg-type]
    assert (declared.status_code, counted.status_code) == (413, 413)
    assert "0.0625 MiB" in declared.json()["detail"]


async def test_every_answer_has_a_request_id_and_a_sane_one_is_kept(url: str) -> None:
    async with httpx.AsyncClient() as client:
        kept = await client.get(f"{url}/ok", headers={"x-request-id": "abc-1"})
        made = await client.get(f"{url}/nowhere", headers={"x-request-id": "a b\tc"})
    assert kept.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 36


async def test_a_websocket_of_another_origin_is_refused(url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    handshake = (
        f"GET /threads/x/stream/events HTTP/1.1\r\nHost: localhost:{port_of(url)}\r\nOrigin: https://evil.example\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(handshake.encode())
    assert b" 403 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_head_works_where_programs_look_and_other_methods_are_named(url: str) -> None:
    async with httpx.AsyncClient() as client:
        assert [(await client.head(f"{url}{path}")).status_code for path in ("/", "/ok", "/health")] == [200, 200, 200]
        wrong = await client.put(f"{url}/threads/search")
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]
