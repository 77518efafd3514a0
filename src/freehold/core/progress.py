"""How long work reports itself, without knowing who watches: a terminal bar, JSON lines, a log, or nobody."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

Unit = Literal["bytes", "items", "seconds"]


class Step(Protocol):
    """One piece of long work under way."""

    def advance(self, amount: float) -> None:
        """`amount` more of the unit is done."""

    def note(self, text: str) -> None:
        """What is being done right now, e.g. a file name."""


class Progress(Protocol):
    """Opens steps. `with progress.step("Qwen2.5 1.5B", total=1117320768, unit="bytes", done=4096) as step: ...`"""

    def step(self, label: str, *, total: float | None = None, unit: Unit = "items", done: float = 0) -> AbstractContextManager[Step]: ...

    def say(self, text: str) -> None:
        """One line that stays, e.g. "using the mirror: the hub does not answer"."""


class _Quiet(AbstractContextManager["_Quiet"]):
    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: float) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Nobody watches."""

    def step(self, label: str, *, total: float | None = None, unit: Unit = "items", done: float = 0) -> _Quiet:
        return _Quiet()

    def say(self, text: str) -> None: ...
