"""Backups in a folder, by name: which is the newest, and which are old enough to go."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

#: A name sorts as its time does, so that nobody has to open files to know their order.
_PATTERN = "freehold-[0-9]*-[0-9]*.backup"


def named(out: Path) -> Path:
    """`out` itself, or where it is a folder, a file in it that is named after this second: `freehold-20260102-030405.backup`."""
    return out / f"freehold-{datetime.now().astimezone():%Y%m%d-%H%M%S}.backup" if out.is_dir() else out


def held(folder: Path) -> list[Path]:
    """Backups that were named by `named`, the oldest first."""
    return sorted(path for path in folder.glob(_PATTERN) if path.is_file())


def forget(folder: Path, keep: int) -> list[str]:
    """Remove all but the newest; return the names of those that went."""
    old = held(folder)[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return [path.name for path in old]
