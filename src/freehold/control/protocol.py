"""What supervisor and command line say to each other: one JSON object a line, a request and its reply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

#: waiting: for what it needs. restarting: it ended by itself and is started again after a pause. done: a task that succeeded.
State = Literal["waiting", "preparing", "starting", "healthy", "unhealthy", "restarting", "stopping", "stopped", "done", "failed"]

#: What a start works towards.
GOOD: frozenset[str] = frozenset({"healthy", "done"})

#: Longest line either side accepts, in bytes.
MAX_LINE = 1024 * 1024


def socket_path(runtime: Path) -> Path:
    """Where the supervisor listens, inside the private run-time folder."""
    return runtime / "control.sock"


@dataclass(frozen=True)
class ServiceStatus:
    """One process of the stack."""

    name: str
    about: str
    kind: Literal["server", "task"]
    state: State
    #: Why it is in this state, where that is not plain: `"needs postgres"`, `"ended with exit code 1: …"`.
    why: str | None
    pid: int | None
    #: Unix time of the last start.
    since: float | None
    restarts: int
    #: How it ended the last time that it ended by itself, e.g. `"was ended by SIGKILL"`.
    ended: str | None
    #: Resident memory of the process and its children.
    memory_bytes: int | None
    ports: tuple[int, ...]
    log: str


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    name: str
    version: str
    fingerprint: str
    pid: int
    since: float
    server_url: str
    stopping: bool
    services: tuple[ServiceStatus, ...]
    type: Literal["stack"] = "stack"

    @property
    def is_healthy(self) -> bool:
        return all(service.state in GOOD for service in self.services)


@dataclass(frozen=True)
class Accepted:
    """The request will be carried out."""

    type: Literal["accepted"] = "accepted"


@dataclass(frozen=True)
class Refused:
    """The request cannot be carried out."""

    message: str
    type: Literal["refused"] = "refused"


@dataclass(frozen=True)
class AskStatus:
    """How is everything?"""

    type: Literal["status"] = "status"


@dataclass(frozen=True)
class AskStop:
    """End all services in order, then the supervisor."""

    type: Literal["stop"] = "stop"


@dataclass(frozen=True)
class AskRestart:
    """End one service and start it again."""

    service: str
    type: Literal["restart"] = "restart"


@dataclass(frozen=True)
class AskRestartTogether:
    """End these processes, the last one first, and start them in this order, each once the one before it is well."""

    processes: tuple[str, ...]
    type: Literal["restart together"] = "restart together"


Request = AskStatus | AskStop | AskRestart | AskRestartTogether
Reply = StackStatus | Accepted | Refused

REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])
