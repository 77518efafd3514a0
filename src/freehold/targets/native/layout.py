"""Where the parts of a native stack lie on this machine. A value: `render` needs nothing else to be pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.targets.native.process import User


@dataclass(frozen=True)
class Place:
    """Where one service keeps its data and sockets, and as whom it runs (None: as the user who starts the stack)."""

    data: Path
    sockets: Path
    user: User | None = None


@dataclass(frozen=True)
class Layout:
    """Folders and programs."""

    home: Path
    #: Short, private folder for sockets.
    runtime: Path
    #: Working directory of the user's own code.
    project: Path
    #: Eight characters that tell this stack from others on the machine.
    identity: str
    #: Start of the command line of each abstract program, e.g. `{"postgres": ("/…/bin/postgres",)}`.
    programs: Mapping[str, tuple[str, ...]]
    #: Operating system users that may be superuser of the embedded Postgres.
    administrators: tuple[str, ...]
    #: The freehold.toml in use.
    config: Path | None = None
    #: GGUF file or folder of the model that is served here.
    model: Path | None = None
    #: Services that do not lie in `home`.
    places: Mapping[str, Place] = field(default_factory=dict)

    def ready_file(self, process: str) -> Path:
        """By which a process says that it takes work."""
        return self.home / "native" / f"{process}.ready"

    def place(self, name: str) -> Place:
        return self.places.get(name) or Place(self.home / name, self.runtime)
