"""The file that a backup is: a zip of parts with a manifest, whole or not there at all.

    manifest.json              format, version, time, and of each part its size and SHA-256
    databases/freehold.dump    pg_dump's custom format, compressed by pg_dump

A zip because its parts can be streamed into it, and anybody can look into it. Further kinds of parts get folders of their own.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from freehold.core.errors import ConfigError, Incompatible

#: Raised whenever an older Freehold could not read what is written.
FORMAT = 1
#: What is read and written at once.
CHUNK_BYTES = 1024 * 1024
_MANIFEST = "manifest.json"


#: Of a database or a role: nothing that would end a quoted name, as the file may be anybody's.
Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]{0,62}$")]


@dataclass(frozen=True)
class Part:
    """One database in a backup."""

    #: Of the database, e.g. "freehold".
    name: Name
    owner: Name
    #: Where it lies in the file.
    file: str
    size: int
    sha256: str
    #: Names of Freehold's migrations that it has had; empty for a database of another service.
    migrations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    #: Version of Freehold that made it.
    version: str
    made: datetime
    #: Major version of PostgreSQL, e.g. 18.
    postgres: int
    #: "server": whole databases of a server of our own. "schema": our schema in a database of somebody else.
    scope: str
    parts: tuple[Part, ...]


_ADAPTER = TypeAdapter(Manifest)


class Writer:
    """Fills a backup, part by part."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def part(self, file: str) -> Iterator[_Sink]:
        """Where the bytes of a part go; its size and hash are known afterwards."""
        with self._archive.open(file, "w", force_zip64=True) as member:
            yield _Sink(member)

    def finish(self, manifest: Manifest) -> None:
        self._archive.writestr(_MANIFEST, _ADAPTER.dump_json(manifest, indent=1))


class _Sink:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a backup of mode 0600 that appears under its name once it is whole and on the disk; on an error nothing is left.

    Raises:
        ConfigError: there is a file of this name, or no such folder.
    """
    if path.exists():
        raise ConfigError(f"{path} is there already", hint="name another file; a backup never replaces one")
    partial = path.with_name(f".{path.name}.partial")
    try:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="name a file in a folder of yours") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            os.fchmod(handle, 0o600)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # pg_dump has compressed it
                yield Writer(archive)
            file.flush()
            os.fsync(handle)
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class Backup:
    """A backup that is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._archive = archive

    def verify(self, seen: Callable[[int], None]) -> None:
        """Read all of it and compare with its checksums; `seen` is told how many bytes were read.

        Raises:
            Incompatible: it is damaged.
        """
        for part in self.manifest.parts:
            digest = hashlib.sha256()
            try:
                for data in self.read(part):
                    digest.update(data)
                    seen(len(data))
            except (zipfile.BadZipFile, KeyError, EOFError) as error:
                raise self._damaged(part) from error
            if digest.hexdigest() != part.sha256:
                raise self._damaged(part)

    def read(self, part: Part) -> Iterator[bytes]:
        """The bytes of a part."""
        with self._archive.open(part.file) as member:
            while data := member.read(CHUNK_BYTES):
                yield data

    def _damaged(self, part: Part) -> Incompatible:
        return Incompatible(f"{self.path} is damaged: {part.file} is not what was written", hint="use another backup")


@contextmanager
def reading(path: Path) -> Iterator[Backup]:
    """Open a backup.

    Raises:
        ConfigError: there is no such file.
        Incompatible: it is no backup, is torn, or was made by a newer version.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise Incompatible(f"{path} is not a whole backup", hint="it was cut off, or is something else; use another one") from error
    with archive:
        try:
            manifest = _ADAPTER.validate_json(archive.read(_MANIFEST))
        except (KeyError, ValidationError, zipfile.BadZipFile) as error:
            raise Incompatible(
                f"{path} is not a backup that this version reads", hint="a newer Freehold made it, or it is something else"
            ) from error
        if manifest.format != FORMAT:
            raise Incompatible(
                f"{path} has format {manifest.format}, and this version reads {FORMAT}", hint="use the Freehold that made it"
            )
        yield Backup(path, archive, manifest)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
