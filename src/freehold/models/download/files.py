"""Model files on disk: checked once and stamped, locked while they change, and never half-written under their final name."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from freehold.core.errors import DownloadError, OutOfSpace
from freehold.core.progress import Progress, Silent, Step
from freehold.models.catalogue import File, check_relative

_STAMP = ".verified.json"
_LOCK = ".lock"
_LOCK_POLL_SECONDS = 0.3
CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Stamp:
    """What was verified in a model's folder: each file with its size and modification time at that moment."""

    files: dict[str, dict[str, Any]]
    revision: str | None = None
    #: The whole repository is here (for models whose files only the hub's listing names).
    complete: bool = False

    def covers(self, folder: Path, path: str) -> bool:
        """Whether this file was verified and has not changed since, told by size and time so that nothing is hashed again."""
        try:
            found = (folder / path).stat()
        except OSError:
            return False
        known = self.files.get(path)
        return known is not None and (found.st_size, found.st_mtime_ns) == (known.get("size"), known.get("mtime_ns"))

    def vouches(self, folder: Path, file: File) -> bool:
        """Whether this file is the one that was verified: a newer catalogue may want another content under the same name."""
        known = self.files.get(file.path, {})
        return self.covers(folder, file.path) and (known.get("sha256"), known.get("git_sha1")) == (file.sha256, file.git_sha1)


def stamp(folder: Path) -> Stamp:
    """The stamp of a folder; an empty one where there is none or it cannot be read."""
    try:
        return Stamp(**orjson.loads((folder / _STAMP).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return Stamp(files={})


def record(folder: Path, file: File, *, revision: str | None = None) -> None:
    """Remember that this file was verified as it is now."""
    known = stamp(folder)
    found = (folder / file.path).stat()
    entry = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": file.sha256, "git_sha1": file.git_sha1}
    _write(folder, Stamp({**known.files, file.path: entry}, revision or known.revision, known.complete))


def record_complete(folder: Path) -> None:
    """Remember that every file of the repository is here."""
    known = stamp(folder)
    _write(folder, Stamp(known.files, known.revision, complete=True))


def _write(folder: Path, value: Stamp) -> None:
    new = folder / f"{_STAMP}.new"
    new.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    new.replace(folder / _STAMP)


async def verify(path: Path, file: File, progress: Progress, *, label: str | None = None) -> bool:
    """Whether the content at `path` is that of `file`: by size, then by hash."""
    size = size_of(path)
    if file.size is not None and size != file.size:
        return False
    if file.sha256 is None and file.git_sha1 is None:
        return file.size is not None
    with (progress if size > 4 * CHUNK_BYTES else Silent()).step(label or f"checking {path.name}", total=size, unit="bytes") as step:
        if file.sha256:
            return await _digest(path, hashlib.sha256(), step) == file.sha256
        # SHA-1 is how git names content; the hub publishes nothing stronger for files it does not keep in LFS.
        return await _digest(path, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), step) == file.git_sha1


async def _digest(path: Path, digest: Any, step: Step) -> str:
    with open_file(path, "rb") as handle:
        while chunk := await asyncio.to_thread(handle.read, CHUNK_BYTES):
            await asyncio.to_thread(digest.update, chunk)
            step.advance(len(chunk))
    return str(digest.hexdigest())


def open_file(path: Path, mode: str) -> IO[bytes]:
    """Open a binary file from async code, with a buffer that makes small writes cheap."""
    return path.open(mode, buffering=CHUNK_BYTES)


def place(folder: Path, path: str) -> Path:
    """Where a model's file belongs, with its folder made; a path that leads out of the model's folder is refused."""
    target = folder / check_relative(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def size_of(path: Path) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def discard_parts(folder: Path) -> None:
    """Remove what unfinished hub downloads left, once another source gave the model."""
    for leftover in [*folder.rglob("*.part"), *folder.rglob("*.part.etag")]:
        leftover.unlink(missing_ok=True)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check the disk before a download.

    Raises:
        OutOfSpace: says how much is missing.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"{what} needs {gigabytes(needed)} in {folder}, {gigabytes(free)} are free: {gigabytes(needed - free)} are missing",
            hint="free some space, or set FREEHOLD_CACHE to a folder on a larger disk",
        )


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Translate the operating system's errors of a write.

    Raises:
        OutOfSpace: the disk became full.
        DownloadError: any other failure to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OutOfSpace(
                f"the disk became full while fetching {what} into {folder}",
                hint="free some space and try again: the download goes on where it stopped",
            ) from error
        raise DownloadError(f"{what} could not be written to {folder}: {error.strerror or error}") from error


@asynccontextmanager
async def locked(folder: Path, what: str, progress: Progress) -> AsyncIterator[None]:
    """Only one process changes this folder; the lock is the operating system's, so it ends with its holder, however that ends."""
    handle = _open_lock(folder, what)
    try:
        said = False
        while not _try_lock(handle):
            if not said:
                progress.say(f"waiting: another process is fetching {what}")
                said = True
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _open_lock(folder: Path, what: str) -> int:
    with writing(what, folder):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def gigabytes(size: int) -> str:
    """`1117320768` → `1.1 GB`, the way disks and downloads are labelled."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
