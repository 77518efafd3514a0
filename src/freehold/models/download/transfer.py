"""One file over HTTP: found unreachable within seconds, resumed where it stopped, and believed only by its hash."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from freehold.core.errors import DownloadError
from freehold.core.progress import Progress, Step
from freehold.models.catalogue import File
from freehold.models.download import files

_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try again."""

    connect_seconds: float = 5
    read_seconds: float = 30
    #: Attempts in a row that bring nothing new.
    attempts: int = 5
    pause_seconds: float = 0.5


PATIENCE = Patience()

#: What `client` opens.
Client = httpx.AsyncClient


class Unreachable(DownloadError):
    """The server does not answer; nothing else need be asked of it."""


@dataclass(frozen=True)
class Source:
    """Where a file is, and how to explain a refusal."""

    url: str
    #: What progress calls it, e.g. "qwen2.5: model.gguf".
    label: str
    patience: Patience = PATIENCE
    #: HTTP status -> the error to raise, for those that mean something particular here.
    refusals: Mapping[int, DownloadError] | None = None

    @property
    def host(self) -> str:
        return httpx.URL(self.url).host

    def check(self, status: int) -> None:
        """Raise for a status that no further attempt will change."""
        if self.refusals and status in self.refusals:
            raise self.refusals[status]
        if status >= 400:
            raise DownloadError(f"{self.host} answered HTTP {status} for {self.label}")


@asynccontextmanager
async def client(patience: Patience, *, token: str | None = None, certificates: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that asks for plain bytes, which is what ranges count.

    Args:
        token: bearer token; httpx gives it to the first host only, not to where that redirects.
        certificates: file of a private certificate authority.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "freehold"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(patience.read_seconds, connect=patience.connect_seconds)
    verify = ssl.create_default_context(cafile=certificates) if certificates else True
    async with httpx.AsyncClient(headers=headers, timeout=timeout, verify=verify, follow_redirects=True) as opened:
        yield opened


async def get(http: httpx.AsyncClient, source: Source) -> httpx.Response:
    """A small document.

    Raises:
        Unreachable: the server does not answer.
        DownloadError: it refuses.
    """
    try:
        answer = await http.get(source.url)
    except httpx.HTTPError as error:
        raise Unreachable(f"{source.host} does not answer ({_why(error)})") from error
    source.check(answer.status_code)
    return answer


async def bring(http: httpx.AsyncClient, source: Source, file: File, target: Path, progress: Progress) -> None:
    """Bring a file to `target`; what an earlier attempt left in its `.part` file is kept and continued.

    Raises:
        Unreachable: the server does not answer.
        DownloadError: it refuses, breaks off too often, or the content is not what its hash says.
        OutOfSpace: the disk became full.
    """
    part = target.with_name(target.name + ".part")
    resumed = files.size_of(part) > 0
    await _receive(http, source, file, part, progress)
    if resumed and not await files.verify(part, file, progress):
        progress.say(f"{source.label}: what was resumed does not match its hash; starting again")
        _discard(part)
        resumed = False
        await _receive(http, source, file, part, progress)
    if not resumed and not await files.verify(part, file, progress):
        _discard(part)
        raise DownloadError(f"{source.label} from {source.host} is not the expected file: its hash differs")
    part.replace(target)
    _tag_of(part).unlink(missing_ok=True)


async def _receive(http: httpx.AsyncClient, source: Source, file: File, part: Path, progress: Progress) -> None:
    """Append to `part`, over as many connections as it takes, until the file is whole."""
    done = files.size_of(part)
    if file.size is not None and done == file.size:
        return
    fruitless, connected = 0, False
    with ExitStack() as stack:
        step = _Arriving(lambda: stack.enter_context(progress.step(source.label, total=file.size, unit="bytes", done=done)))
        while True:
            before = files.size_of(part)
            try:
                await _one_connection(http, source, file, part, step)
                return
            except httpx.HTTPError as error:
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not connected:
                    raise Unreachable(f"{source.host} does not answer ({_why(error)})") from error
                connected = True
                fruitless = 0 if files.size_of(part) > before else fruitless + 1
                if fruitless >= source.patience.attempts:
                    raise DownloadError(
                        f"{source.label}: the connection to {source.host} broke again and again ({_why(error)})",
                        hint="try again: the download goes on where it stopped",
                    ) from error
                step.note(f"connection lost ({_why(error)}), going on from {files.gigabytes(files.size_of(part))}")
                await asyncio.sleep(source.patience.pause_seconds * 2**fruitless)


class _Arriving:
    """A step that is shown once the server answers: one that does not should not look like a download."""

    def __init__(self, opened: Callable[[], Step]) -> None:
        self._open = opened
        self._step: Step | None = None

    def start(self) -> None:
        self._step = self._step or self._open()

    def advance(self, amount: float) -> None:
        if self._step:
            self._step.advance(amount)

    def note(self, text: str) -> None:
        if self._step:
            self._step.note(text)


async def _one_connection(http: httpx.AsyncClient, source: Source, file: File, part: Path, step: _Arriving) -> None:
    """Ask for the rest of the file and append it.

    Raises:
        httpx.HTTPError: the connection broke; what arrived is kept.
    """
    offset = files.size_of(part)
    async with http.stream("GET", source.url, headers=_range(part, offset)) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part is longer than the file: it cannot be a beginning of it.
            _restart(part, step)
            raise httpx.RemoteProtocolError("the server has nothing after what is here")
        if answer.status_code in _TRY_AGAIN:
            raise httpx.RemoteProtocolError(f"HTTP {answer.status_code}")
        source.check(answer.status_code)
        step.start()
        if offset and answer.status_code != httpx.codes.PARTIAL_CONTENT:
            # If-Range failed: the file changed on the server, or it does not know ranges.
            _restart(part, step)
        if tag := answer.headers.get("ETag"):
            _tag_of(part).write_text(tag)
        await _append(answer, part, source.label, step)
    if file.size is not None and files.size_of(part) < file.size:
        raise httpx.RemoteProtocolError("the connection closed before the end")


async def _append(answer: httpx.Response, part: Path, what: str, step: Step) -> None:
    with files.writing(what, part.parent), files.open_file(part, "ab") as handle:
        # As it arrives, not in chunks of our size: those would be lost when the connection breaks.
        async for chunk in answer.aiter_bytes():
            handle.write(chunk)
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
