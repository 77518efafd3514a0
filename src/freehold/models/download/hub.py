"""Files from the model hub: which ones, under which address, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from freehold.config import env
from freehold.core.errors import DownloadError
from freehold.core.progress import Progress
from freehold.models.catalogue import File, Model
from freehold.models.download import files, transfer

DEFAULT_ENDPOINT = "https://huggingface.co"

#: Weights in other formats than the one that is served; skipped where safetensors exist.
_OTHER_FORMATS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite")


@dataclass(frozen=True)
class Hub:
    """A model hub and how to speak with it."""

    endpoint: str
    token: str | None = None
    patience: transfer.Patience = transfer.PATIENCE

    @property
    def host(self) -> str:
        return httpx.URL(self.endpoint).host

    def source(self, model: Model, url: str, what: str) -> transfer.Source:
        """An address of this hub, with the hub's meaning of 401, 403 and 404."""
        give = "use a token of that account in HF_TOKEN" if self.token else "set HF_TOKEN to an access token of that account"
        gated = DownloadError(
            f"{self.host} refuses {model.repo}: it is gated or private",
            hint=f"accept its licence at {self.endpoint}/{model.repo} and {give}",
        )
        missing = DownloadError(f"{self.host} does not have {what} of {model.repo} at revision {model.revision or 'main'}")
        return transfer.Source(url, f"{model.id}: {what}", self.patience, {401: gated, 403: gated, 404: missing})


def configured(patience: transfer.Patience | None = None) -> Hub:
    """The hub the environment names: HF_ENDPOINT and HF_TOKEN."""
    endpoint = (env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    return Hub(endpoint, env.get("HF_TOKEN"), patience or transfer.PATIENCE)


def forbidden() -> bool:
    """Whether the user said never to ask the hub (HF_HUB_OFFLINE)."""
    return (env.get("HF_HUB_OFFLINE") or "").lower() in {"1", "true", "yes", "on"}


async def listing(hub: Hub, http: httpx.AsyncClient, model: Model) -> tuple[str, tuple[File, ...]]:
    """The commit of a model's repository and the files an engine needs from it, with the hashes the hub states.

    Raises:
        DownloadError: the hub refuses or does not answer.
    """
    repository = f"{hub.endpoint}/api/models/{model.repo}"
    about = await transfer.get(
        http, hub.source(model, f"{repository}/revision/{quote(model.revision or 'main', safe='')}", "the repository")
    )
    revision = str(about.json()["sha"])
    tree = await transfer.get(http, hub.source(model, f"{repository}/tree/{revision}", "the file list"))
    return revision, wanted_files(tree.json())


def wanted_files(tree: list[Mapping[str, Any]]) -> tuple[File, ...]:
    """Of a repository's listing, what an engine reads: top-level files, and of the weights only safetensors where there are any."""
    found = [entry for entry in tree if entry.get("type") == "file" and "/" not in entry["path"] and not entry["path"].startswith(".")]
    if any(entry["path"].endswith(".safetensors") for entry in found):
        found = [entry for entry in found if not entry["path"].endswith(_OTHER_FORMATS)]
    return tuple(_listed(entry) for entry in found)


def _listed(entry: Mapping[str, Any]) -> File:
    if lfs := entry.get("lfs"):
        return File(entry["path"], size=int(lfs["size"]), sha256=str(lfs["oid"]))
    return File(entry["path"], size=int(entry["size"]), git_sha1=str(entry["oid"]))


async def fetch(hub: Hub, http: httpx.AsyncClient, model: Model, revision: str, file: File, folder: Path, progress: Progress) -> None:
    """Bring one file of a model into its folder and stamp it.

    Raises:
        DownloadError, OutOfSpace: as `transfer.bring`.
    """
    # e.g. https://hub/Qwen/Qwen2.5/resolve/main/config.json
    url = f"{hub.endpoint}/{model.repo}/resolve/{quote(revision, safe='')}/{quote(file.path)}"
    target = files.place(folder, file.path)
    await transfer.bring(http, hub.source(model, url, file.path), file, target, progress)
    files.record(folder, file, revision=revision)
