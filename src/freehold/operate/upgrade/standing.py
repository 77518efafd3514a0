"""What is to be said about upgrades without doing any: one that was interrupted, one that is due, what earlier ones left."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Literal, NamedTuple

from freehold.core.errors import FreeholdError
from freehold.operate.upgrade import journal, running
from freehold.targets.native.home import Home

#: Backups made before upgrades; beyond it some may go.
COMFORTABLE_BACKUPS = 3


class Said(NamedTuple):
    """As a finding of `doctor`."""

    level: Literal["ok", "warn", "fail"]
    message: str
    todo: str | None = None


def standing(home: Home) -> Iterator[Said]:
    """Nothing where no stack was ever started."""
    try:
        last = running.last_version(home)
    except FreeholdError:
        return
    own = version("freehold")
    if home.upgrade_file.exists():
        yield _under_way(home)
    elif last != own:
        yield Said("warn", f"Freehold {own} is installed, and {last} started this stack last", "freehold upgrade")
    saved = sorted(home.backups.glob("*.backup")) if home.backups.is_dir() else []
    if len(saved) > COMFORTABLE_BACKUPS:
        size = sum(path.stat().st_size for path in saved)
        yield Said("warn", f"{len(saved)} backups of earlier upgrades take {size / 1e6:.0f} MB in {home.backups}", "remove the oldest")


def _under_way(home: Home) -> Said:
    try:
        journal.require_finished(home)
        begun = journal.read(home)
    except FreeholdError as error:
        return Said("fail", error.message, error.hint)
    return Said("ok", f"an upgrade to {begun.new or 'another version'} is under way" if begun else "an upgrade has just ended")
