"""Log files of the services: children write to them directly, so a dying supervisor loses no line and blocks nobody."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: A file is rotated beyond this size.
MAX_BYTES = 10 * 1024**2
#: Rotated files kept beside the current one.
KEPT = 2


def open_for_append(path: Path) -> int:
    """A file descriptor that children may share: with O_APPEND each line lands at the end, also after a rotation."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def rotate_if_large(path: Path) -> bool:
    """Copy and truncate, because the writer keeps its descriptor. Lines written in between may be lost: milliseconds, every 10 MB."""
    try:
        if path.stat().st_size < MAX_BYTES:
            return False
    except FileNotFoundError:
        return False
    for number in range(KEPT, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int, *, most_bytes: int = 256 * 1024) -> list[str]:
    """The last lines of a file; none where there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines else []


def last_line(path: Path, *, since: int = 0) -> str | None:
    """The last line that says something, looking only at what was written after byte `since`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - 16 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), None)
