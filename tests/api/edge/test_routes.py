"""What leads anywhere through the edge, and under which names."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.api.edge.conftest import Front
from tests.support.edge import raw, status, trusting


async def test_the_api_is_reached_with_a_key_and_not_without(front: Front) -> None:
    async with front.client() as client, front.client(key=False) as stranger:
        known = await client.post("/threads/search", json={})
        unknown = await stranger.post("/threads/search", json={})
    assert (known.status_code, unknown.status_code) == (200, 401)


async def test_health_is_public_and_nothing_else_of_it_is_asked_for(front: Front) -> None:
    async with front.client(key=False) as client:
        answers = [await client.get("/health"), await client.head("/ok"), await client.get("/health?check=/metrics")]
        changed = await client.post("/health")
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert changed.status_code == 405
    assert changed.json()["code"] == "method_not_allowed"


CLOSED = [
    "/metrics",
    "/docs",
    "/docs/swagger-ui.css",
    "/openapi.json",
    "/auth/check",
    "/models/key/generate",
    "/models/v1/tokenize",
    "/models/",
]
#: What of vLLM's paths somebody may try here.
ELSEWHERE = ["/invocations", "/tokenize", "/pooling", "/v1/load_lora_adapter", "/sleep", "/edge/check", "/edge/health"]
TRICKS = [
    "//metrics",
    "/./metrics",
    "/ok/../metrics",
    "/%6detrics",
    "/%2e/metrics",
    "/ok/%2e%2e/metrics",
    "/ok/..%2fmetrics",
    "/ok%2f..%2fmetrics",
    "/%2fmetrics",
    "/metrics/",
    "/metrics%2f",
    "/METRICS",
    "/metrics;x",
    "/;x/metrics",
    "/metrics%3fx",
    "/metrics%00",
    "/metrics%20",
    "/metrics#x",
    "/%256detrics",
    "/prefix/metrics",
    "/prefix/docs/swagger-ui.css",
    "/models/v1/../../metrics",
    "/models/v1/models/../../key/generate",
    "/models/v1/models/..%2f..%2fkey/generate",
    "/models//v1/models/../tokenize",
]


@pytest.mark.parametrize("path", [*CLOSED, *ELSEWHERE, *TRICKS])
def test_every_other_path_is_closed_however_it_is_written(front: Front, path: str) -> None:
    before = len(front.behind.asked)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{front.nginx.ports['https']}\r\nx-api-key: {front.admin_key}\r\nConnection: close\r\n\r\n"
    )
    answer = raw(front.nginx, request.encode())
    assert status(answer) in {400, 404}
    assert b"# HELP" not in answer and b"openapi" not in answer and b"swagger" not in answer
    assert len(front.behind.asked) == before


@pytest.mark.parametrize("host", ["evil.example", "agents.example.com.evil.example", "grafana", "1.2.3.4", "localhost.evil.example", ""])
def test_unknown_host_names_are_refused(front: Front, host: str) -> None:
    answer = raw(front.nginx, f"GET /ok HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "localhost:1", "localhost.", "agents.example.com", "[::1]"])
def test_its_own_names_are_served(front: Front, host: str) -> None:
    answer = raw(front.nginx, f"GET /ok HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) == 200


def test_what_a_client_calls_us_does_not_reach_the_services_behind(front: Front) -> None:
    port = front.nginx.ports["https"]
    request = (
        f"GET https://agents.example.com/models/v1/models HTTP/1.1\r\nHost: evil.example\r\nx-api-key: {front.write_key}\r\n"
        "X-Forwarded-Host: evil.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nForwarded: for=6.6.6.6\r\n"
        "X-Real-IP: 6.6.6.6\r\nProxy: http://evil.example\r\nX_Api_Key: other\r\nConnection: close, x-api-key\r\n\r\n"
    )
    assert status(raw(front.nginx, request.encode())) == 200
    told = front.behind.asked[-1]["headers"]
    assert told["host"] == told["x-forwarded-host"] == f"agents.example.com:{port}"
    assert (told["x-forwarded-for"], told["x-real-ip"], told["x-forwarded-proto"]) == ("127.0.0.1", "127.0.0.1", "https")
    assert not {"forwarded", "proxy", "x_api_key"} & told.keys()
    assert told["x-api-key"] == front.write_key


async def test_the_gateway_is_asked_for_models_alone_and_only_by_those_with_a_key(front: Front) -> None:
    async with front.client() as client, front.client(key=False) as stranger:
        completed = await client.post("/models/v1/chat/completions?a=b", json={"model": "m"})
        listed = await client.get("/models/v1/models/qwen")
        refused = await stranger.post("/models/v1/chat/completions", json={})
        read = await client.get("/models/v1/chat/completions")
    assert (completed.json()["path"], listed.json()["path"]) == ("/v1/chat/completions?a=b", "/v1/models/qwen")
    assert (refused.status_code, read.status_code) == (401, 405)
    assert refused.json()["code"] == "unauthenticated"


async def test_open_webui_has_a_port_of_its_own_and_checks_who_is_there_itself(front: Front) -> None:
    address = f"https://127.0.0.1:{front.nginx.ports['webui']}"
    async with httpx.AsyncClient(verify=trusting(front.nginx)) as client:
        answer = await client.post(f"{address}/api/chat?x", headers={"authorization": "Bearer theirs"}, content=b"x" * 1_500_000)
    told = answer.json()
    assert (told["path"], told["bytes"]) == ("/api/chat?x", 1_500_000)
    assert told["headers"]["authorization"] == "Bearer theirs"
    assert told["headers"]["host"] == f"127.0.0.1:{front.nginx.ports['webui']}"


async def test_dashboards_have_names_of_their_own_and_a_key_of_an_administrator_as_password(front: Front) -> None:
    headers = {"host": "grafana.agents.example.com"}
    async with front.client(key=False) as client:
        stranger = await client.get("/d/overview", headers=headers)
        writer = await client.get("/d/overview", headers=headers, auth=("ada", front.write_key))
        admin = await client.get("/d/overview", headers=headers, auth=("ada", front.admin_key))
    assert (stranger.status_code, writer.status_code, admin.status_code) == (401, 403, 200)
    assert [challenge.partition(" ")[0] for challenge in stranger.headers.get_list("www-authenticate")] == ["Basic"]
    assert not {"authorization", "x-api-key"} & admin.json()["headers"].keys()


async def test_a_page_of_another_site_cannot_use_the_password_a_browser_knows(front: Front) -> None:
    told = {"host": "grafana.agents.example.com", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    async with front.client(key=False) as client:
        posted = await client.post("/api/x", headers=told, auth=("ada", front.admin_key))
        followed = await client.get("/d/x", headers={**told, "sec-fetch-mode": "navigate"}, auth=("ada", front.admin_key))
    assert (posted.status_code, followed.status_code) == (403, 200)


def test_http_leads_to_https_and_nowhere_else(front: Front) -> None:
    plain = f"http://127.0.0.1:{front.nginx.ports['redirect']}"
    moved = httpx.post(f"{plain}/threads?x=1")
    strange = httpx.get(f"{plain}/threads", headers={"host": "evil.example"})
    assert (moved.status_code, moved.headers["location"]) == (301, f"https://127.0.0.1:{front.nginx.ports['https']}/threads?x=1")
    assert strange.status_code == 421 and "location" not in strange.headers
    assert httpx.get(f"{plain}/edge/health", headers={"host": "anything"}).text == "ok"


async def test_answers_carry_security_headers_once_and_no_version(front: Front) -> None:
    async with front.client() as client:
        api = await client.get("/ok")
        page = await client.get("/", headers={"accept": "text/html"})
        closed = await client.get("/metrics")
    for answer in (api, page):
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("referrer-policy") == ["same-origin"]
        assert len(answer.headers.get_list("content-security-policy")) == 1
        assert len(answer.headers.get_list("x-request-id")) == 1
    assert 'href="info"' in page.text and 'href="docs"' not in page.text  # closed here
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors" in api.headers["content-security-policy"]
    assert closed.headers["server"] == "nginx"
    assert closed.headers["content-type"] == "application/json" and json.loads(closed.text)["code"] == "not_found"
    assert "strict-transport-security" not in api.headers  # a self-signed certificate
