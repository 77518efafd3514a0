"""Client and server of the control socket speak the protocol, and each survives the other's nonsense."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from freehold.control import client
from freehold.control.protocol import Accepted, AskRestart, AskStatus, AskStop, Refused, Reply, Request, ServiceStatus, StackStatus
from freehold.control.server import listening
from freehold.core.errors import Conflict, Incompatible, TimedOut, Unhealthy

SERVICE = ServiceStatus("a", "about a", "server", "healthy", None, 12, 1.5, 0, None, 1024, (8123,), "/log")
STATUS = StackStatus("freehold", "1", "f", 11, 1.0, "http://127.0.0.1:8123", False, (SERVICE,))


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        yield Path(folder) / "control.sock"


@pytest.fixture
async def asked(socket: Path) -> AsyncIterator[list[Request]]:
    """A server that answers a fixed status, accepts what it knows, and remembers what it was asked."""
    requests: list[Request] = []

    async def answer(request: Request) -> Reply:
        requests.append(request)
        if isinstance(request, AskRestart) and request.service != "a":
            return Refused("no such service")
        return STATUS if isinstance(request, AskStatus) else Accepted()

    async with listening(socket, answer):
        yield requests


async def test_a_status_arrives_as_it_was_sent(socket: Path, asked: list[Request]) -> None:
    assert await client.status(socket) == STATUS


async def test_stop_and_restart_reach_the_supervisor(socket: Path, asked: list[Request]) -> None:
    await client.stop(socket)
    await client.restart(socket, "a")
    assert asked == [AskStop(), AskRestart("a")]


async def test_a_refusal_is_an_error_with_its_reason(socket: Path, asked: list[Request]) -> None:
    with pytest.raises(Conflict, match="no such service"):
        await client.restart(socket, "z")


async def test_nobody_listening_says_how_to_start(socket: Path) -> None:
    with pytest.raises(Unhealthy) as error:
        await client.status(socket)
    assert error.value.hint == "start one with `freehold up`"


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b'{"type": "explode"}\n', b'{"type": "restart"}\n'])
async def test_nonsense_is_refused_and_the_server_lives_on(socket: Path, asked: list[Request], line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(line)
    assert b'"refused"' in await reader.readline()
    writer.close()
    assert await client.status(socket) == STATUS


async def test_several_requests_share_a_connection(socket: Path, asked: list[Request]) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(b'{"type": "status"}\n{"type": "stop"}\n')
    assert b'"stack"' in await reader.readline()
    assert b'"accepted"' in await reader.readline()
    writer.close()


async def test_a_line_beyond_the_limit_ends_only_its_connection(socket: Path, asked: list[Request]) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(b"x" * 3_000_000)
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert await client.status(socket) == STATUS


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(socket: Path) -> None:
    async def answer(request: Request) -> Reply:
        return Accepted()

    socket.touch()  # what a crash left behind
    async with listening(socket, answer):
        assert socket.stat().st_mode & 0o777 == 0o600
    assert not socket.exists()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"", Unhealthy), (b'{"type": "stack", "name": 7}\n', Incompatible), (b'{"type": "accepted"}\n', Incompatible)],
    ids=["ends without an answer", "another version", "another answer"],
)
async def test_a_strange_supervisor_is_an_error_with_a_name(socket: Path, answer: bytes, kind: type[Exception]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(socket)):
        with pytest.raises(kind):
            await client.status(socket)


async def test_a_supervisor_that_does_not_answer_is_given_up(socket: Path) -> None:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_unix_server(serve, str(socket)):
        with pytest.raises(TimedOut):
            await client.ask(socket, AskStatus(), timeout_seconds=0.05)
        done.set()


@pytest.mark.parametrize(("state", "well"), [("healthy", True), ("done", True), ("restarting", False), ("waiting", False)])
def test_a_stack_is_well_when_each_service_is(state: str, well: bool) -> None:
    service = ServiceStatus("a", "", "server", state, None, None, None, 0, None, None, (), "")  # type: ignore[arg-type]
    assert StackStatus("s", "1", "f", 1, 0.0, "", False, (SERVICE, service)).is_healthy is well
