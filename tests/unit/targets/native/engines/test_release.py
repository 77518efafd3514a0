import hashlib
import io
import json
import socket
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.models.file_server import FileServer, Watched, serving

from freehold.core.errors import DownloadError, Incompatible
from freehold.models.download import transfer
from freehold.targets.native.engines import release

NAME = "llama-b1-bin-ubuntu-x64.tar.gz"


def packed() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"llama-server": b"#!/bin/sh\necho version\n", "libllama.so": b"library"}.items():
            info = tarfile.TarInfo(f"llama-b1/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


PACKED = packed()


def describe(server: FileServer, **changes: object) -> None:
    asset = {
        "name": NAME,
        "size": len(PACKED),
        "digest": f"sha256:{hashlib.sha256(PACKED).hexdigest()}",
        "browser_download_url": f"{server.url}/download/{NAME}",
    }
    server.files = {"/tags/b1": json.dumps({"assets": [{"name": "other.zip"}, {**asset, **changes}]}).encode(), f"/download/{NAME}": PACKED}


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving() as server:
        describe(server)
        yield server


async def fetch(server: FileServer, folder: Path) -> Path:
    return await release.fetch("b1", "Linux", "x86_64", folder, Watched(), api=f"{server.url}/tags")


async def test_the_official_binary_is_unpacked_with_its_libraries(server: FileServer, tmp_path: Path) -> None:
    program = await fetch(server, tmp_path / "out")
    assert program == tmp_path / "out" / "llama-server"
    assert program.stat().st_mode & 0o111
    assert (tmp_path / "out" / "libllama.so").read_bytes() == b"library"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": f"sha256:{'0' * 64}"}, "is not the expected file: its hash differs"),
        ({"digest": None}, f"the release of llama.cpp names no SHA-256 for {NAME}"),
        ({"digest": "md5:abc"}, f"the release of llama.cpp names no SHA-256 for {NAME}"),
        ({"name": "renamed.tar.gz"}, f"the release of llama.cpp has no {NAME}"),
    ],
)
async def test_a_release_without_proof_is_not_used(server: FileServer, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    describe(server, **changes)
    with pytest.raises(DownloadError) as caught:
        await fetch(server, tmp_path / "out")
    assert message in caught.value.message
    assert not (tmp_path / "out").exists()


async def test_an_unreachable_release_server_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(transfer.Unreachable):
            await fetch(FileServer(url=f"http://127.0.0.1:{free.getsockname()[1]}"), tmp_path / "out")


@pytest.mark.parametrize(
    ("system", "architecture", "name"),
    [
        ("Linux", "x86_64", "llama-b1-bin-ubuntu-x64.tar.gz"),
        ("Linux", "arm64", "llama-b1-bin-ubuntu-arm64.tar.gz"),
        ("Darwin", "arm64", "llama-b1-bin-macos-arm64.tar.gz"),
    ],
)
def test_each_platform_has_its_asset(system: str, architecture: str, name: str) -> None:
    assert release.asset_name("b1", system, architecture) == name


def test_a_platform_without_binaries_is_named() -> None:
    with pytest.raises(Incompatible, match=r"llama\.cpp publishes no binary for Linux on riscv64"):
        release.asset_name("b1", "Linux", "riscv64")
