"""Where the parts of a native stack lie on this machine. A value: `render` needs nothing else to be pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.targets.native.process import User

#: Stores whose data lies in the state folder itself, where its first versions put it; that of others lies in `data`.
_AT_THE_TOP = frozenset({"postgres", "valkey"})


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
    #: GGUF file or folder of the model that a service serves, by the service's name.
    models: Mapping[str, Path] = field(default_factory=dict)
    #: Services that do not lie in `home`.
    places: Mapping[str, Place] = field(default_factory=dict)

    def ready_file(self, process: str) -> Path:
        """By which a process says that it takes work."""
        return self.home / "native" / f"{process}.ready"

    def files(self, service: str) -> Path:
        """Folder of the files that a service reads."""
        return self.home / "files" / service

    def secret_file(self, name: str) -> Path:
        return self.home / "secrets" / name

    def place(self, name: str) -> Place:
        return self.places.get(name) or Place(self.home / name if name in _AT_THE_TOP else self.home / "data" / name, self.runtime)
