"""Official llama.cpp binaries, where the release server can be reached and the binary runs here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.core.errors import DownloadError, Incompatible
from freehold.core.progress import Progress
from freehold.models.catalogue import File
from freehold.models.download import transfer
from freehold.targets.native.engines import archive

API = "https://api.github.com/repos/ggml-org/llama.cpp/releases/tags"

#: (system, architecture) -> the platform in an asset's name, as the project's release workflow writes it. CPU builds, and Metal on macOS.
_PLATFORMS: Mapping[tuple[str, str], str] = {
    ("Linux", "x86_64"): "ubuntu-x64",
    ("Linux", "arm64"): "ubuntu-arm64",
    ("Darwin", "arm64"): "macos-arm64",
    ("Darwin", "x86_64"): "macos-x64",
}


def asset_name(tag: str, system: str, architecture: str) -> str:
    """`llama-b11434-bin-ubuntu-x64.tar.gz`

    Raises:
        Incompatible: the project publishes no binary for this platform.
    """
    platform = _PLATFORMS.get((system, architecture))
    if platform is None:
        raise Incompatible(f"llama.cpp publishes no binary for {system} on {architecture}")
    return f"llama-{tag}-bin-{platform}.tar.gz"


async def fetch(tag: str, system: str, architecture: str, folder: Path, progress: Progress, *, api: str = API) -> Path:
    """Unpack the official binary into `folder`.

    Its SHA-256 is the one the release server publishes beside it: that proves it arrived whole, and rests on the same server.

    Returns:
        Path of `llama-server`.

    Raises:
        DownloadError: the server does not answer, or has no such file with a hash.
        Incompatible: no binary for this platform.
    """
    name = asset_name(tag, system, architecture)
    patience = transfer.Patience(connect_seconds=4, read_seconds=10)
    async with transfer.client(patience) as http:
        answer = await transfer.get(http, transfer.Source(f"{api}/{tag}", f"release {tag} of llama.cpp", patience))
        url, file = _asset(answer.json(), name)
        packed = folder.with_name(name)
        await transfer.bring(http, transfer.Source(url, name, patience), file, packed, progress)
    await asyncio.to_thread(archive.extract, packed, folder)
    _forget(packed)
    return _executable(folder)


def _asset(release: Mapping[str, Any], name: str) -> tuple[str, File]:
    for asset in release.get("assets", ()):
        if asset.get("name") == name:
            kind, _, digest = (asset.get("digest") or "").partition(":")
            if kind != "sha256" or len(digest) != 64:
                raise DownloadError(f"the release of llama.cpp names no SHA-256 for {name}")
            return str(asset["browser_download_url"]), File(name, int(asset["size"]), digest)
    raise DownloadError(f"the release of llama.cpp has no {name}")


def _executable(folder: Path) -> Path:
    program = next((path for path in folder.rglob("llama-server") if path.is_file()), None)
    if program is None:
        raise DownloadError("the release of llama.cpp holds no llama-server")
    program.chmod(0o755)
    return program


def _forget(packed: Path) -> None:
    packed.unlink(missing_ok=True)
