"""One POST: where it goes, what it follows, and how long it waits. The receivers are real sockets on this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from freehold.outbound import connect
from freehold.outbound.address import NOTHING, Allowed
from freehold.outbound.post import MOST_BYTES, Poster, Undelivered

HERE = Allowed.parse(["127.0.0.1"])

Answering = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def receiving(answer: Answering) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port that reads one request and answers it as told; and the requests it got."""
    requests: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        requests.append(head + await reader.readexactly(length))
        try:
            await answer(requests[-1], writer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], requests


def saying(status: str, headers: str = "", body: bytes = b"") -> Answering:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return answer


async def test_what_is_sent_is_a_plain_post_to_the_host_of_the_url() -> None:
    async with receiving(saying("204 No Content")) as (port, requests):
        answer = await Poster(HERE, timeout_seconds=5).post(httpx.URL(f"http://127.0.0.1:{port}/a?b=c"), {"X-One": "1"}, b"{}")
    assert answer.status == 204
    assert requests[0].startswith(b"POST /a?b=c HTTP/1.1\r\n") and requests[0].endswith(b"\r\n\r\n{}")
    assert f"Host: 127.0.0.1:{port}".encode() in requests[0] and b"X-One: 1" in requests[0]


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    async with (
        receiving(saying("200 OK")) as (inner, reached),
        receiving(saying("307 Temporary Redirect", f"Location: http://127.0.0.1:{inner}/\r\n")) as (port, _),
    ):
        answer = await Poster(HERE, timeout_seconds=5).post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, b"{}")
    assert answer.status == 307 and reached == []


async def test_an_address_that_is_not_allowed_is_not_connected_to() -> None:
    async with receiving(saying("200 OK")) as (port, reached):
        for host in ("127.0.0.1", "localhost", "2130706433"):
            with pytest.raises(Undelivered, match="not public"):
                await Poster(NOTHING, timeout_seconds=5).post(httpx.URL(f"http://{host}:{port}/"), {}, b"{}")
    assert reached == []


async def test_a_name_is_resolved_once_and_that_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = socket.getaddrinfo

    def resolver(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "rebinding.test":
            return ask(host, port, *arguments, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.255.255.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    async with receiving(saying("200 OK")) as (port, requests):
        answer = await Poster(HERE, timeout_seconds=5).post(httpx.URL(f"http://rebinding.test:{port}/"), {}, b"{}")
    assert answer.status == 200 and asked == ["rebinding.test"]
    assert f"Host: rebinding.test:{port}".encode() in requests[0]


async def test_one_address_of_several_that_is_not_public_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(host: Any, port: Any, **options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("1.1.1.1", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(connect.Refused, match="not public"):
        await connect.checked("two.test", 443, NOTHING)


async def test_a_receiver_that_does_not_answer_is_given_up() -> None:
    async def silent(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with receiving(silent) as (port, _):
        with pytest.raises(Undelivered, match=r"no answer within 0\.5 s"):
            await Poster(HERE, timeout_seconds=0.5).post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, b"{}")


async def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    written = 0

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while written < 1_000_000_000:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with receiving(endless) as (port, _):
        answer = await Poster(HERE, timeout_seconds=20).post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, b"{}")
    assert answer.status == 200 and written < 1_000_000_000 and MOST_BYTES < 1_000_000


async def test_nobody_there_is_told_without_a_stack() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Undelivered, match="no answer: ConnectError"):
        await Poster(HERE, timeout_seconds=5).post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, b"{}")


async def test_the_pause_a_receiver_asks_for_is_told() -> None:
    async with receiving(saying("503 Busy", "Retry-After: 120\r\n")) as (port, _):
        answer = await Poster(HERE, timeout_seconds=5).post(httpx.URL(f"http://127.0.0.1:{port}/"), {}, b"{}")
    assert (answer.status, answer.retry_after) == (503, 120)


async def test_names_that_take_long_to_resolve_hold_up_no_other_work_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolver(*_: Any, **__: Any) -> Any:
        released.wait(30)
        raise OSError("nobody answered")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    asked = [asyncio.create_task(connect.resolve(f"{number}.slow.test", 443)) for number in range(3 * connect.RESOLVERS)]
    assert await asyncio.to_thread(lambda: "done") == "done"
    released.set()
    assert all(isinstance(answer, OSError) for answer in await asyncio.gather(*asked, return_exceptions=True))
