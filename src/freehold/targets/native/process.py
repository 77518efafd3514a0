"""A rendered stack: what exactly the supervisor starts. It is a file, `<home>/native/stack.json`, without secrets in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from freehold.stack.service import Environment, Health, Kind, Port


@dataclass(frozen=True)
class User:
    """An operating system user that a process runs as, other than the one who started the stack."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class TextFile:
    """A file written before the start of a process, readable by its user."""

    path: str
    text: str


@dataclass(frozen=True)
class Once:
    """Work done before the very first start: `argv` fills `builds`, which is then renamed to `produces`, so half a result is never used."""

    argv: tuple[str, ...]
    builds: str
    produces: str


@dataclass(frozen=True)
class Process:
    """One process, with everything resolved but secrets, which stay `${secret:name}` until it is spawned."""

    name: str
    #: Service it belongs to; several replicas share one.
    service: str
    kind: Kind
    about: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    environment: Environment
    cwd: str
    #: Folders made before the start, private (0700) to the user of the process.
    folders: tuple[str, ...]
    health: Health | None
    #: Processes that must be healthy or done before this one.
    needs: tuple[str, ...]
    restarts: bool
    stop_signal: Literal["SIGTERM", "SIGINT"]
    grace_seconds: float
    ports: tuple[Port, ...] = ()
    files: tuple[TextFile, ...] = ()
    once: Once | None = None
    user: User | None = None
    #: Processors it is pinned to, e.g. (0, 1); empty: any.
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """All processes of a stack, each after those it needs."""

    name: str
    version: str
    fingerprint: str
    server_url: str
    processes: tuple[Process, ...] = field(default_factory=tuple)

    def process(self, name: str) -> Process | None:
        return next((process for process in self.processes if process.name == name), None)

    def to_json(self) -> str:
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Rendered:
        """Raises:
        ValueError: not a rendered stack of this version.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Rendered)
