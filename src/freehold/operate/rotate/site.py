"""What a running stack lets one do with its secrets, whichever target runs it. One file beside this for each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Held:
    """One secret of a stack; never its value."""

    name: str
    about: str
    source: Literal["generated", "given"]
    #: Unix time of the last change; None where there is none yet.
    changed: float | None
    #: Processes that know it, each after those it needs.
    users: tuple[str, ...]
    #: Role of the stack's own Postgres whose password it is.
    role: str | None = None
    #: Only its first value counts.
    lasting: bool = False


class Site(Protocol):
    """A running stack."""

    async def held(self) -> Sequence[Held]:
        """All its secrets, by name."""

    def read(self, name: str) -> str:
        """The value of a secret. Raises NotConfigured where there is none."""

    def write(self, name: str, value: str) -> None:
        """Replace it in one step; what starts from now on has it."""

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Give roles of the stack's own Postgres other passwords, all or none, by role. Open connections stay.

        Raises:
            StorageUnavailable: the server does not answer.
        """

    async def prepare(self, held: Held, old: str, new: str) -> None:
        """Whatever lets both values in while the users change, e.g. a second password of Valkey."""

    async def settle(self, held: Held, gone: str) -> None:
        """End what `prepare` began: the value that is written down gets in, and `gone` no more."""

    async def restart(self, processes: Sequence[str]) -> None:
        """End these, the last one first, then start them in order; returns when all are well.

        Raises:
            Unhealthy: one is not well in time.
        """

    async def require_well(self) -> None:
        """Raises Unhealthy where something is not well already: a change would only make it worse, and could not be judged."""
