"""What an upgrade is doing, written down before it is done: one that is killed is finished, or taken back, by the next call."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from freehold.core.errors import Conflict, Incompatible
from freehold.targets.native.files import write_private
from freehold.targets.native.home import Home
from freehold.targets.native.starting import StartLock

#: Forward: prepare, stop, save, switch, start, check. Back: end, return, restore, restart.
Step = Literal["prepare", "stop", "save", "switch", "start", "check", "end", "return", "restore", "restart"]
#: Up to here nothing but the stack's rest is to be undone.
HARMLESS: frozenset[Step] = frozenset({"prepare", "stop", "save"})


@dataclass(frozen=True)
class Journal:
    """One upgrade under way."""

    id: str
    old: str
    new: str
    step: Step
    #: Working directory of the stack, where freehold.toml and the agents lie.
    project: str
    config: str | None
    was_running: bool
    backup: str
    #: Environment of Python that changes; None: somebody else's tool changed it already.
    environment: str | None = None
    #: What pip installs: `freehold==0.2.0`, or the path of a wheel.
    requirement: str | None = None
    #: Whether anything but the rest of the stack is to be undone.
    changed: bool = False
    #: Unit of systemd that runs the stack, e.g. "freehold.service"; `--user` before it where it is the user's own.
    unit: str | None = None
    #: Why it is taken back.
    why: str | None = None


_ADAPTER = TypeAdapter(Journal)


def read(home: Home) -> Journal | None:
    """The upgrade that is under way; None where there is none.

    Raises:
        Incompatible: a version that writes it otherwise began it.
    """
    try:
        return _ADAPTER.validate_json(home.upgrade_file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Incompatible(f"{home.upgrade_file} cannot be read", hint="call the Freehold that began this upgrade") from error


def write(home: Home, journal: Journal) -> None:
    write_private(home.upgrade_file, _ADAPTER.dump_json(journal, indent=1).decode() + "\n")


def close(home: Home, journal: Journal, outcome: str) -> None:
    """It is over: a line in the list of all upgrades, and no journal any more."""
    line = {**asdict(journal), "outcome": outcome, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
    with history(home).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    home.upgrade_file.unlink(missing_ok=True)


def history(home: Home) -> Path:
    """One JSON object a line, for each upgrade that is over."""
    return home.path / "native" / "upgrades.jsonl"


def lock(home: Home) -> StartLock:
    """Held by an upgrade as long as it lives."""
    return StartLock(home.path / "native" / "upgrade.lock")


def require_finished(home: Home) -> None:
    """Raises:
    Conflict: an upgrade was interrupted, so the database may be of one version and the program of another.
    """
    if not home.upgrade_file.exists():
        return
    with lock(home) as own:
        if own.take():  # nobody is at it
            raise Conflict("an upgrade of this stack was interrupted", hint="`freehold upgrade` finishes it, or takes it back")
