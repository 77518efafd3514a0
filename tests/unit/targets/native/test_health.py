"""Questions to services, with real Postgres and Valkey, and with servers that misbehave."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.conftest import Database

from freehold.stack.service import Health
from freehold.targets.native import health

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    return talk


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 503 Loading\r\n\r\n", "HTTP 503"),
        (b"", "closed the connection without an answer"),
    ],
)
async def test_http_is_well_with_200_only(answer: bytes, complaint: str | None) -> None:
    async with await asyncio.start_server(saying(answer), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await health.ask(Health("http", f"http://127.0.0.1:{port}/health")) == complaint


async def test_nobody_listening_is_not_well() -> None:
    assert await health.ask(Health("http", "http://127.0.0.1:9/ok")) == "does not listen yet"
    assert await health.ask(Health("valkey", "/nowhere/valkey.sock")) == "does not listen yet"


async def test_an_address_that_makes_no_sense_is_a_complaint_and_no_crash() -> None:
    assert "cannot be asked (ValueError" in str(await health.ask(Health("http", "http://fd00::1:8000/health")))


async def test_an_ipv6_address_is_asked() -> None:
    async with await asyncio.start_server(saying(b"HTTP/1.1 200 OK\r\n\r\n"), "::1", 0) as server:
        assert await health.ask(Health("http", f"http://[::1]:{server.sockets[0].getsockname()[1]}/health")) is None


async def test_a_service_that_takes_the_connection_and_is_silent_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.1)
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await health.ask(Health("http", f"http://127.0.0.1:{port}/")) == "no answer within 0 s"
        done.set()


async def test_a_real_postgres_is_well(database: Database) -> None:
    folder = parse_qs(urlsplit(database.app_url).query)["host"][0]
    assert await health.ask(Health("postgres", folder)) is None


async def test_a_starting_postgres_says_what_it_waits_for(path: Path) -> None:
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    answer = b"E" + (4 + len(fields)).to_bytes(4, "big") + fields
    async with await asyncio.start_unix_server(saying(answer), str(path / ".s.PGSQL.5432")):
        assert await health.ask(Health("postgres", str(path))) == "the database system is starting up"


async def test_a_postgres_that_hangs_up_is_not_well(path: Path) -> None:
    async with await asyncio.start_unix_server(saying(b""), str(path / ".s.PGSQL.5432")):
        assert "does not answer" in str(await health.ask(Health("postgres", str(path))))


async def test_a_real_valkey_is_well(valkey_url: str) -> None:
    assert await health.ask(Health("valkey", urlsplit(valkey_url).path)) is None


async def test_a_loading_valkey_says_so(path: Path) -> None:
    async with await asyncio.start_unix_server(saying(b"-LOADING the dataset\r\n"), str(path / "v")):
        assert await health.ask(Health("valkey", str(path / "v"))) == "-LOADING the dataset"


async def test_a_process_that_says_itself_when_it_takes_work_is_not_well_before_nor_after_a_new_start(path: Path) -> None:
    asked = Health("ready", str(path / "worker.ready"))
    assert await health.ask(asked) == "does not take work yet"
    (path / "worker.ready").touch()
    assert await health.ask(asked) is None
    health.forget(asked)
    health.forget(asked)
    assert await health.ask(asked) == "does not take work yet"


async def test_a_process_without_a_question_is_well_while_it_lives() -> None:
    assert await health.ask(Health("alive")) is None


async def test_a_pooler_is_asked_at_its_own_socket(path: Path) -> None:
    asks_for_a_password = b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0"
    socket = path / ".s.PGSQL.6432"
    async with await asyncio.start_unix_server(saying(asks_for_a_password), socket):
        assert await health.ask(Health("postgres", str(socket))) is None
    assert await health.ask(Health("postgres", str(path))) == "does not listen yet"
