"""How much one address and one credential may ask of the edge, and who gets in by a password."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from tests.api.edge.conftest import Front
from tests.support.edge import edge, raw, status, trusting

from freehold.operate.certificates.passwords import change

#: Seldom enough that nothing is given back while a test runs.
RARELY = {"requests_per_second": 0.02, "key_requests_per_second": 0.02}


async def statuses(url: str, count: int, **more: object) -> list[int]:
    async with httpx.AsyncClient(**more) as client:  # type: ignore[arg-type]
        return [(await client.get(f"{url}/ok")).status_code for _ in range(count)]


async def test_an_address_that_asks_too_much_is_told_to_wait(front: Front, nginx_program: tuple[str, ...], tmp_path: Path) -> None:
    with edge(nginx_program, front.server_url, tmp_path, **RARELY, requests_at_once=3) as running:
        assert await statuses(running.url, 6, verify=trusting(running)) == [200, 200, 200, 200, 429, 429]
        refused = httpx.get(f"{running.url}/ok", verify=trusting(running))
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "too_many_requests"
        assert "limiting" not in running.log


async def test_a_key_that_asks_too_much_is_told_to_wait_however_it_is_sent_and_others_are_not(
    front: Front, nginx_program: tuple[str, ...], tmp_path: Path
) -> None:
    with edge(nginx_program, front.server_url, tmp_path, **{**RARELY, "requests_at_once": 100}, key_requests_at_once=1) as running:
        own = {"x-api-key": "fh_one"}
        assert await statuses(running.url, 3, verify=trusting(running), headers=own) == [200, 200, 429]
        assert await statuses(running.url, 1, verify=trusting(running), headers={"authorization": "Bearer fh_one"}) == [429]
        assert await statuses(running.url, 1, verify=trusting(running), headers={"x-api-key": "fh_two"}) == [200]
        assert await statuses(running.url, 4, verify=trusting(running)) == [200] * 4
        assert "fh_one" not in running.log


async def test_only_so_many_answers_of_one_address_are_under_way_at_once(
    front: Front, nginx_program: tuple[str, ...], tmp_path: Path
) -> None:
    with edge(nginx_program, front.server_url, tmp_path, connections=2) as running:
        headers = {"x-api-key": front.write_key}
        async with httpx.AsyncClient(base_url=running.url, verify=trusting(running), headers=headers, timeout=30) as client:
            threads = [(await client.post("/threads", json={})).json()["thread_id"] for _ in range(2)]
            async with (
                client.stream("GET", f"/threads/{threads[0]}/stream") as first,
                client.stream("GET", f"/threads/{threads[1]}/stream") as second,
            ):
                assert (first.status_code, second.status_code) == (200, 200)
                assert (await client.get("/ok")).status_code == 429


async def test_passwords_guard_everything_but_health_and_stay_at_the_edge(
    front: Front, nginx_program: tuple[str, ...], tmp_path: Path
) -> None:
    users = tmp_path / "people"
    password = change(users, "ada")
    assert password
    folder = tmp_path / "edge"
    section = {"auth": "basic", "users": str(users)}
    with edge(nginx_program, front.server_url, folder, behind={"gateway": front.behind.address}, **section) as running:
        async with httpx.AsyncClient(base_url=running.url, verify=trusting(running), headers={"x-api-key": front.write_key}) as client:
            answers = [
                await client.post("/threads/search", json={}),
                await client.post("/threads/search", json={}, auth=("ada", password)),
                await client.post("/threads/search", json={}, auth=("ada", password + "x")),
                await client.get("/health"),
                await client.get("/models/v1/models"),
            ]
        assert [answer.status_code for answer in answers] == [401, 200, 401, 200, 200]
        assert answers[0].headers["www-authenticate"] == 'Basic realm="Freehold"'
        assert password not in running.log


def test_an_address_is_believed_from_a_trusted_proxy_alone(front: Front, nginx_program: tuple[str, ...], tmp_path: Path) -> None:
    request = (
        "GET /ok HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6, 9.9.9.9\r\nX-Request-Id: from-{}\r\nConnection: close\r\n\r\n"
    )
    for name, networks in (("stranger", ["10.0.0.0/8"]), ("proxy", ["127.0.0.0/8"])):
        folder = tmp_path / name
        with edge(nginx_program, front.server_url, folder, trusted_proxies=networks) as running:
            assert status(raw(running, request.format(name).encode())) == 200
            seen = running.logged(f"from-{name}")
            assert f'"address":"{"127.0.0.1" if name == "stranger" else "9.9.9.9"}"' in seen


async def test_a_service_that_is_away_is_said_to_be_and_the_log_keeps_queries_out(nginx_program: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with edge(nginx_program, f"http://127.0.0.1:{nobody.getsockname()[1]}", tmp_path) as running:
            answer = await asyncio.to_thread(httpx.get, f"{running.url}/info?api_key=hush", verify=trusting(running))
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (502, "unavailable", "1")
            assert running.logged('"path":"/info"')
            assert "hush" not in running.log


@pytest.mark.parametrize("days", [0, 365])
def test_browsers_are_told_to_stay_with_https_only_by_a_certificate_they_trust(
    front: Front, nginx_program: tuple[str, ...], tmp_path: Path, days: int
) -> None:
    with edge(nginx_program, front.server_url, tmp_path / "made") as made:
        assert "strict-transport-security" not in httpx.get(f"{made.url}/ok", verify=trusting(made)).headers
        pem = tmp_path / "made" / "certificate.pem"
        own = {"tls": "files", "certificate": str(pem), "key": str(pem), "hsts_days": days}
        with edge(nginx_program, front.server_url, tmp_path / "own", **own) as running:
            told = httpx.get(f"{running.url}/ok", verify=trusting(running)).headers.get("strict-transport-security")
    assert told == ("max-age=31536000" if days else None)
