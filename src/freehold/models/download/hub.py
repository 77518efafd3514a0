"""Files from the model hub: found unreachable within seconds, resumed where they stopped, and believed only by their hash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from freehold.config import env
from freehold.core.errors import DownloadError
from freehold.core.progress import Progress, Step
from freehold.models.catalogue import File, Model
from freehold.models.download import files

DEFAULT_ENDPOINT = "https://huggingface.co"

#: Weights in other formats than the one that is served; skipped where safetensors exist.
_OTHER_FORMATS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite")


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try again."""

    connect_seconds: float = 5
    read_seconds: float = 30
    #: Attempts in a row that bring nothing new.
    attempts: int = 5
    pause_seconds: float = 0.5


class Unreachable(DownloadError):
    """The hub does not answer; nothing else need be asked of it."""


@dataclass(frozen=True)
class Hub:
    """A model hub and how to speak with it."""

    endpoint: str
    token: str | None = None
    patience: Patience = Patience()

    @property
    def host(self) -> str:
        return httpx.URL(self.endpoint).host

    def url(self, model: Model, revision: str, path: str) -> str:
        """`https://hub/Qwen/Qwen2.5/resolve/main/config.json`"""
        return f"{self.endpoint}/{model.repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


def configured(patience: Patience | None = None) -> Hub:
    """The hub the environment names: HF_ENDPOINT and HF_TOKEN."""
    endpoint = (env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    return Hub(endpoint, env.get("HF_TOKEN"), patience or Patience())


def forbidden() -> bool:
    """Whether the user said never to ask the hub (HF_HUB_OFFLINE)."""
    return (env.get("HF_HUB_OFFLINE") or "").lower() in {"1", "true", "yes", "on"}


@asynccontextmanager
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks for plain bytes (ranges count those) and gives the token to the hub only, not to where it redirects."""
    patience = hub.patience
    headers = {"Accept-Encoding": "identity", "User-Agent": "freehold"}
    if hub.token:
        headers["Authorization"] = f"Bearer {hub.token}"
    timeout = httpx.Timeout(patience.read_seconds, connect=patience.connect_seconds)
    async with httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=True) as opened:
        yield opened


async def listing(hub: Hub, http: httpx.AsyncClient, model: Model) -> tuple[str, tuple[File, ...]]:
    """The commit of a model's repository and the files an engine needs from it, with the hashes the hub states.

    Raises:
        DownloadError: the hub refuses or does not answer.
    """
    about = await _json(hub, http, model, f"{hub.endpoint}/api/models/{model.repo}/revision/{quote(model.revision or 'main', safe='')}")
    revision = str(about["sha"])
    tree = await _json(hub, http, model, f"{hub.endpoint}/api/models/{model.repo}/tree/{revision}")
    return revision, wanted_files(tree)


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


async def _json(hub: Hub, http: httpx.AsyncClient, model: Model, url: str) -> Any:
    try:
        answer = await http.get(url)
    except httpx.HTTPError as error:
        raise Unreachable(f"{hub.host} does not answer ({_why(error)})") from error
    _check_status(hub, model, answer.status_code, "the repository")
    return answer.json()


async def fetch(hub: Hub, http: httpx.AsyncClient, model: Model, revision: str, file: File, folder: Path, progress: Progress) -> None:
    """Bring one file into `folder`; what an earlier attempt left in its `.part` file is kept and continued.

    Raises:
        DownloadError: refused, cut too often, or the content is not what its hash says.
        OutOfSpace: the disk became full.
    """
    target = files.place(folder, file.path)
    part = target.with_name(target.name + ".part")
    url = hub.url(model, revision, file.path)
    resumed = part.exists()
    await _receive(hub, http, model, url, file, part, progress)
    if not await files.verify(part, file, progress):
        _discard(part)
        if not resumed:
            raise DownloadError(f"{file.path} from {hub.host} is not the expected file: its hash differs")
        progress.say(f"{file.path}: the resumed download does not match its hash; starting again")
        await _receive(hub, http, model, url, file, part, progress)
        if not await files.verify(part, file, progress):
            _discard(part)
            raise DownloadError(f"{file.path} from {hub.host} is not the expected file: its hash differs")
    part.replace(target)
    _tag_of(part).unlink(missing_ok=True)
    files.record(folder, file, revision=revision)


async def _receive(hub: Hub, http: httpx.AsyncClient, model: Model, url: str, file: File, part: Path, progress: Progress) -> None:
    """Append to `part`, over as many connections as it takes, until the file is whole."""
    done = files.size_of(part)
    if file.size is not None and done == file.size:
        return
    fruitless, connected = 0, False
    with progress.step(f"{model.id}: {file.path}", total=file.size, unit="bytes", done=done) as step:
        while True:
            before = files.size_of(part)
            try:
                await _one_connection(hub, http, model, url, file, part, step)
                return
            except httpx.HTTPError as error:
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not connected:
                    raise Unreachable(f"{hub.host} does not answer ({_why(error)})") from error
                connected = True
                fruitless = 0 if files.size_of(part) > before else fruitless + 1
                if fruitless >= hub.patience.attempts:
                    raise DownloadError(
                        f"{file.path}: the connection to {hub.host} broke again and again ({_why(error)})",
                        hint="try again: the download goes on where it stopped",
                    ) from error
                step.note(f"connection lost ({_why(error)}), going on from {files.gigabytes(files.size_of(part))}")
                await asyncio.sleep(hub.patience.pause_seconds * 2**fruitless)


async def _one_connection(hub: Hub, http: httpx.AsyncClient, model: Model, url: str, file: File, part: Path, step: Step) -> None:
    """Ask for the rest of the file and append it.

    Raises:
        httpx.HTTPError: the connection broke; what arrived is kept.
    """
    offset = files.size_of(part)
    headers = _range(part, offset)
    async with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part is longer than the file: it cannot be a beginning of it.
            _restart(part, step)
            raise httpx.RemoteProtocolError("the server has nothing after what is here")
        if answer.status_code in {429, 500, 502, 503, 504}:
            raise httpx.RemoteProtocolError(f"HTTP {answer.status_code}")
        _check_status(hub, model, answer.status_code, file.path)
        if offset and answer.status_code != httpx.codes.PARTIAL_CONTENT:
            # If-Range failed: the file changed on the server, or it does not know ranges.
            _restart(part, step)
        if tag := answer.headers.get("ETag"):
            _tag_of(part).write_text(tag)
        await _append(answer, part, model.id, step)
    if file.size is not None and files.size_of(part) < file.size:
        raise httpx.RemoteProtocolError("the connection closed before the end")


async def _append(answer: httpx.Response, part: Path, what: str, step: Step) -> None:
    with files.writing(what, part.parent), files.open_file(part, "ab") as handle:
        async for chunk in answer.aiter_bytes(1024 * 1024):
            await asyncio.to_thread(handle.write, chunk)
            step.advance(len(chunk))


def _range(part: Path, offset: int) -> dict[str, str]:
    if not offset:
        return {}
    headers = {"Range": f"bytes={offset}-"}
    with suppress(OSError):
        tag = _tag_of(part).read_text()
        if not tag.startswith("W/"):
            headers["If-Range"] = tag
    return headers


def _check_status(hub: Hub, model: Model, status: int, what: str) -> None:
    if status in {401, 403}:
        page = f"{hub.endpoint}/{model.repo}"
        raise DownloadError(
            f"{hub.host} refuses {model.repo} (HTTP {status}): it is gated or private",
            hint=f"accept its licence at {page}, then "
            + ("use a token of that account in HF_TOKEN" if hub.token else "set HF_TOKEN to your access token"),
        )
    if status == httpx.codes.NOT_FOUND:
        raise DownloadError(f"{hub.host} does not have {what} of {model.repo} at revision {model.revision or 'main'}")
    if status >= 400:
        raise DownloadError(f"{hub.host} answered HTTP {status} for {what} of {model.repo}")


def _restart(part: Path, step: Step) -> None:
    step.advance(-files.size_of(part))
    _discard(part)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _why(error: Exception) -> str:
    """A few words for an error whose own text is often empty."""
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "silent for too long"
    return str(error) or type(error).__name__
