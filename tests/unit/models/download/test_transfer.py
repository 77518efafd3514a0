import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.models.file_server import FileServer, Watched, serving

from freehold.core.errors import DownloadError
from freehold.models.catalogue import File
from freehold.models.download import transfer

CONTENT = bytes(range(256)) * 4096  # 1 MiB
FILE = File("model.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
QUICK = transfer.Patience(connect_seconds=2, read_seconds=2, attempts=3, pause_seconds=0.01)


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving({"/model.gguf": CONTENT}) as server:
        yield server


async def bring(server: FileServer, target: Path, file: File = FILE, patience: transfer.Patience = QUICK) -> Watched:
    watched = Watched()
    async with transfer.client(patience) as http:
        await transfer.bring(http, transfer.Source(f"{server.url}/model.gguf", "the model", patience), file, target, watched)
    return watched


def ranges(server: FileServer) -> list[str | None]:
    return [request.headers.get("range") for request in server.asked]


async def test_a_file_arrives_whole_and_nothing_else_stays(server: FileServer, tmp_path: Path) -> None:
    watched = await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    assert (watched.totals["the model"], watched.done["the model"]) == (len(CONTENT), len(CONTENT))


async def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [100_000, 200_000, 1]
    watched = await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", "bytes=300000-", "bytes=300001-"]
    assert watched.done["the model"] == len(CONTENT)
    assert "going on from" in watched.notes[0]


async def test_a_later_attempt_goes_on_and_progress_starts_where_it_was(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [400_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="broke again and again"):
        await bring(server, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
    assert (tmp_path / "model.gguf.part").stat().st_size == 400_000
    server.cuts.clear()
    server.asked.clear()
    watched = await bring(server, tmp_path / "model.gguf")
    assert ranges(server) == ["bytes=400000-"]
    assert watched.started_at["the model"] == 400_000
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


async def test_a_cancelled_download_leaves_a_part_and_no_file(server: FileServer, tmp_path: Path) -> None:
    server.stall_after = 300_000
    watched = Watched()
    async with transfer.client(transfer.PATIENCE) as http:
        source = transfer.Source(f"{server.url}/model.gguf", "the model")
        task = asyncio.create_task(transfer.bring(http, source, FILE, tmp_path / "model.gguf", watched))
        await watched.moved.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not (tmp_path / "model.gguf").exists()
    part = (tmp_path / "model.gguf.part").stat().st_size
    assert 0 < part <= 300_000
    server.asked.clear()
    await bring(server, tmp_path / "model.gguf")
    assert ranges(server) == [f"bytes={part}-"]
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


async def test_a_file_that_changed_on_the_server_is_fetched_from_its_beginning(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "model.gguf.part").write_bytes(b"x" * 1000)
    (tmp_path / "model.gguf.part.etag").write_text('"of the version before"')
    watched = await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert watched.done["the model"] == len(CONTENT)


async def test_a_server_without_ranges_still_gives_the_file(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cuts = [100_000]
    await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


async def test_a_beginning_that_was_wrong_is_noticed_by_the_hash_and_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "model.gguf.part").write_bytes(b"x" * 1000)
    watched = await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert watched.said == ["the model: what was resumed does not match its hash; starting again"]


async def test_a_part_longer_than_the_file_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "model.gguf.part").write_bytes(b"x" * (len(CONTENT) + 5))
    await bring(server, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT


async def test_another_file_under_the_same_name_is_refused_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["/model.gguf"] = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=r"the model from 127\.0\.0\.1 is not the expected file: its hash differs"):
        await bring(server, tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


async def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    await bring(server, tmp_path / "model.gguf")
    assert len(server.asked) == 3


async def test_a_server_that_refuses_is_not_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [418]
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 answered HTTP 418 for the model"):
        await bring(server, tmp_path / "model.gguf")
    assert len(server.asked) == 1


async def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.silent = True
    patience = transfer.Patience(read_seconds=0.1, attempts=2, pause_seconds=0.01)
    with pytest.raises(DownloadError, match="silent for too long") as caught:
        await bring(server, tmp_path / "model.gguf", patience=patience)
    assert "goes on where it stopped" in (caught.value.hint or "")


async def test_a_closed_port_is_known_at_the_first_attempt(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = FileServer(url=f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(transfer.Unreachable, match=r"127\.0\.0\.1 does not answer"):
            await bring(nowhere, tmp_path / "model.gguf")


async def test_the_token_goes_to_the_first_host_only(server: FileServer, tmp_path: Path) -> None:
    server.token = "secret"
    with pytest.raises(DownloadError, match="HTTP 401"):
        await bring(server, tmp_path / "model.gguf")
    async with transfer.client(QUICK, token="secret") as http:
        await transfer.bring(http, transfer.Source(f"{server.url}/model.gguf", "the model", QUICK), FILE, tmp_path / "m", Watched())
    assert (tmp_path / "m").read_bytes() == CONTENT
