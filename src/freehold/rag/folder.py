"""Which files an ingest reads: a walk that never leaves the folder it was given, and a read that cannot be tricked out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from freehold.rag.load import Unreadable, media_type


@dataclass(frozen=True)
class Candidate:
    """A file that looks like a document."""

    location: Path  # absolute
    source: str  # what citations show
    media_type: str
    name: str | None = None  # of a document that is not known by its location

    @property
    def path(self) -> str:
        """What the stored document is known by."""
        return self.name or str(self.location)


@dataclass(frozen=True)
class Found:
    """What a walk met."""

    root: Path  # absolute, links resolved: only stored documents below it can have vanished
    candidates: tuple[Candidate, ...]
    unreadable: tuple[tuple[str, str], ...] = ()  # (folder or file, reason)
    skipped: int = 0  # files that are no kind of document

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(candidate.path for candidate in self.candidates)

    def is_vanished(self, path: str) -> bool:
        """Whether a stored document at or below `root` is gone; a folder that could not be read says nothing about its files."""
        if path in self._paths:
            return False
        return not any(Path(path).is_relative_to(self.root / name) for name, _ in self.unreadable)


def scan(root: Path) -> Found:
    """The documents in a folder, or the one file `root` is; in a stable order, hidden names left out.

    Links are followed only to files inside the folder that the walk does not meet anyway.

    Raises:
        Unreadable: `root` does not exist, cannot be entered, or is a file of an unknown kind.
    """
    try:
        root = root.expanduser().resolve(strict=True)
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except (OSError, RuntimeError, ValueError) as error:
        raise Unreadable("does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {_reason(error)}") from error
    if not _is_utf8(str(root)):
        raise Unreadable("has a name that is not UTF-8", hint="rename it")
    if not is_folder:
        kind = media_type(root.name)
        if kind is None:
            raise Unreadable(f"is no kind of document ({root.suffix or 'no ending'})", hint="PDF, Markdown, HTML and text files are read")
        return Found(root, (Candidate(root, root.name, kind),))
    return _scan_folder(root)


def read(candidate: Candidate, *, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        Unreadable: it is gone, not a plain file, larger than `max_bytes`, or may not be read.
    """
    # Not followed where the name became a link since the walk, not waited for where it became a pipe.
    location = candidate.location
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(location.resolve(strict=True) if location.is_symlink() else location, flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable("is not a plain file")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {_reason(error)}") from error
    if len(data) > max_bytes:
        raise Unreadable(f"is larger than {max_bytes / 1e6:g} MB", hint="raise knowledge.max_file_mb")
    return data


def _scan_folder(root: Path) -> Found:
    candidates: list[Candidate] = []
    links: list[Candidate] = []
    unreadable: list[tuple[str, str]] = []
    skipped = 0
    for path, error in _walk(root):
        source = path.relative_to(root).as_posix()
        kind = media_type(path.name)
        if not _is_utf8(source):
            unreadable.append((os.fsencode(source).decode("utf-8", "replace"), "has a name that is not UTF-8"))
        elif error:
            unreadable.append((source, error))
        elif kind is None:
            skipped += 1
        else:
            (links if path.is_symlink() else candidates).append(Candidate(path, source, kind))
    met = {candidate.location for candidate in candidates}
    candidates += [link for link in links if _leads_inside(link.location, root) and link.location.resolve() not in met]
    return Found(root, tuple(sorted(candidates, key=lambda candidate: candidate.source)), tuple(unreadable), skipped)


def _walk(root: Path) -> Iterator[tuple[Path, str | None]]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"cannot be entered: {_reason(error)}"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                yield Path(entry.path), None


def _is_utf8(name: str) -> bool:
    # Python keeps bytes it cannot decode as lone surrogates, which neither Postgres nor a terminal takes.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling, or a loop
        return False
    return target.is_file() and target.is_relative_to(root)


def _reason(error: OSError | RuntimeError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
