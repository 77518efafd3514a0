import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.models.file_server import FileServer, serving

from freehold.core.errors import DownloadError
from freehold.core.progress import Silent
from freehold.models.catalogue import File, Model
from freehold.models.download import hub, transfer

MODEL = Model(id="tiny", title="Tiny", kind="chat", machine_class="8", engines=("vllm",), repo="org/tiny")
TREE = [
    {"type": "directory", "path": "original", "oid": "d"},
    {"type": "file", "path": ".gitattributes", "oid": "a", "size": 3},
    {"type": "file", "path": "config.json", "oid": "c1", "size": 7},
    {"type": "file", "path": "model.safetensors", "oid": "p", "size": 130, "lfs": {"oid": "ab" * 32, "size": 999, "pointerSize": 130}},
    {"type": "file", "path": "pytorch_model.bin", "oid": "p", "size": 130, "lfs": {"oid": "cd" * 32, "size": 999, "pointerSize": 130}},
    {"type": "file", "path": "original/consolidated.pth", "oid": "p", "size": 130, "lfs": {"oid": "ef" * 32, "size": 999}},
]


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    about = json.dumps({"sha": "f00d"}).encode()
    async with serving(
        {"/api/models/org/tiny/revision/main": about, "/api/models/org/tiny/tree/f00d": json.dumps(TREE).encode()}
    ) as server:
        yield server


def test_of_a_repository_only_what_an_engine_reads_is_wanted() -> None:
    files = hub.wanted_files(TREE)
    assert [(file.path, file.size, file.sha256, file.git_sha1) for file in files] == [
        ("config.json", 7, None, "c1"),
        ("model.safetensors", 999, "ab" * 32, None),
    ]


def test_without_safetensors_other_weights_are_wanted() -> None:
    tree = [entry for entry in TREE if not entry["path"].endswith(".safetensors")]
    assert [file.path for file in hub.wanted_files(tree)] == ["config.json", "pytorch_model.bin"]


async def test_a_listing_pins_the_commit(server: FileServer) -> None:
    async with transfer.client(transfer.PATIENCE) as http:
        revision, files = await hub.listing(hub.Hub(server.url), http, MODEL)
    assert revision == "f00d"
    assert [file.path for file in files] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("token", "hint"),
    [
        (None, "set HF_TOKEN to an access token of that account"),
        ("wrong", "use a token of that account in HF_TOKEN"),
    ],
)
async def test_a_gated_repository_names_its_licence_page_and_the_token(server: FileServer, token: str | None, hint: str) -> None:
    server.token = "right"
    source = hub.Hub(server.url, token)
    async with transfer.client(transfer.PATIENCE, token=token) as http:
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1 refuses org/tiny: it is gated or private") as caught:
            await hub.listing(source, http, MODEL)
    assert caught.value.hint == f"accept its licence at {server.url}/org/tiny and {hint}"


async def test_a_missing_repository_is_named_with_its_revision(server: FileServer) -> None:
    server.files.clear()
    async with transfer.client(transfer.PATIENCE) as http:
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1 does not have the repository of org/tiny at revision main"):
            await hub.listing(hub.Hub(server.url), http, MODEL)


def test_the_hub_is_the_one_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub.configured().endpoint == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    monkeypatch.setenv("HF_TOKEN", "t")
    assert (hub.configured().endpoint, hub.configured().token) == ("https://mirror.example", "t")


@pytest.mark.parametrize(("value", "forbidden"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_hub_can_be_forbidden(monkeypatch: pytest.MonkeyPatch, value: str, forbidden: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub.forbidden() is forbidden


async def test_a_fetched_file_is_stamped_with_its_revision(server: FileServer, tmp_path: Path) -> None:
    server.files["/org/tiny/resolve/f00d/config.json"] = b'{"a":1}'
    file = File("config.json", 7, hashlib.sha256(b'{"a":1}').hexdigest())
    async with transfer.client(transfer.PATIENCE) as http:
        await hub.fetch(hub.Hub(server.url), http, MODEL, "f00d", file, tmp_path, Silent())
    assert (tmp_path / "config.json").read_bytes() == b'{"a":1}'
    assert "f00d" in (tmp_path / ".verified.json").read_text()
