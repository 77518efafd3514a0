"""What a chaos run leaves behind, as plain records: the harness writes them, the checker judges them, neither knows the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StoredCheckpoint:
    """One checkpoint; `run_id` is the run whose metadata it carries, `namespace` is empty but for a subgraph's."""

    checkpoint_id: str
    parent_id: str | None
    run_id: str
    step: int
    namespace: str = ""


@dataclass(frozen=True)
class SeenEvent:
    """An event as a client got it, over all its connections; `id` is (epoch, seq)."""

    id: tuple[int, int]
    name: str


@dataclass(frozen=True)
class RunRecord:
    """One run that was accepted with 2xx. Times are seconds on one clock; `expected` is the undisturbed run's final state.

    A run that was taken back has the status "gone".
    """

    run_id: str
    thread_id: str
    status: str
    error: dict[str, Any] | None
    started_at: float | None
    ended_at: float | None
    #: When the last fault that could hold it up was lifted, or when it was accepted, whichever came later.
    free_at: float
    expected: Any
    values: Any
    #: Everything a follower that rejoined saw; None: nobody followed it.
    events: tuple[SeenEvent, ...] | None = None
    #: How it ends undisturbed.
    expected_status: str = "success"
    #: Every end that was seen at any time: status and when.
    endings: frozenset[tuple[str, float]] = frozenset()


@dataclass(frozen=True)
class ThreadRecord:
    """A thread when all was over; `last_checkpoint` are the values of its newest checkpoint."""

    thread_id: str
    values: Any
    last_checkpoint: Any
    checkpoints: tuple[StoredCheckpoint, ...]
    #: Checkpoints from which a fork was asked for: these may have several children.
    forks: frozenset[str] = frozenset()
    #: Root steps that the same runs store undisturbed, oldest first; None: not known.
    expected_steps: tuple[int, ...] | None = None
    #: Its runs store only what they leave (durability "exit"), and a draining worker may have given one back in the middle.
    stored_at_exits: bool = False


@dataclass(frozen=True)
class History:
    """All of one seed."""

    runs: tuple[RunRecord, ...]
    threads: tuple[ThreadRecord, ...]
    recovery_bound: float
