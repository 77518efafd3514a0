"""The rules of runs, threads and leases as a small pure model: what `test_run_rules.py` compares the real statements with.

Time is not modelled but for what it does: a lease has run out or not, a run is delayed or may start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, FreeholdError, NotFound
from freehold.core.run import ACTIVE, CancelAction, MultitaskStrategy, RunStatus

_moments = count()

#: An answer, or the error that is raised instead.
Refusal = type[FreeholdError]


@dataclass(eq=False)
class ModelThread:
    """A thread; `checkpoints` by id, oldest first: the run that stored it, and its messages."""

    thread_id: UUID
    owner: Caller
    temporary: bool = False
    at_rest: str = "idle"
    values: Any = None
    error: Any = None
    graph: str | None = None
    checkpoints: dict[str, tuple[UUID, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(eq=False)
class ModelRun:
    """A run. `deaths` of workers are counted, runs given back are not; `in_hand` once the attempt that is or was its last has begun."""

    run_id: UUID
    thread: ModelThread
    graph: str
    delayed: bool = False
    status: RunStatus = "pending"
    epoch: int = 0
    deaths: int = 0
    in_hand: bool = False
    worker: str | None = None
    cancel: CancelAction | None = None
    error: Any = None
    lease_over: bool = False
    claimed_long_ago: bool = False
    #: When it was last due: a number that rises; set with `delayed`.
    due: int = field(init=False)

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def attempt(self) -> int:
        return self.deaths + self.in_hand

    def back_to_queue(self, *, counted: bool) -> None:
        self.status, self.worker, self.in_hand = "pending", None, False
        self.deaths += counted

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "delayed" and not value:
            self.due = next(_moments)

    def held_with(self, epoch: int) -> bool:
        return self.status == "running" and self.epoch == epoch


class Model:
    """All threads, and all runs in the order they were accepted."""

    def __init__(self) -> None:
        self.threads: dict[UUID, ModelThread] = {}
        self.runs: list[ModelRun] = []

    def run(self, run_id: UUID) -> ModelRun | None:
        return next((run for run in self.runs if run.run_id == run_id), None)

    def runs_of(self, thread: ModelThread) -> list[ModelRun]:
        return [run for run in self.runs if run.thread is thread]

    def status_of(self, thread: ModelThread) -> str:
        return "busy" if any(run.is_active for run in self.runs_of(thread)) else thread.at_rest

    # -- clients -------------------------------------------------------------------------------------------------

    def thread_for(self, caller: Caller, thread_id: UUID) -> ModelThread | Refusal:
        thread = self.threads.get(thread_id)
        return thread if thread and thread.owner == caller else NotFound

    def make_way(self, thread: ModelThread, strategy: MultitaskStrategy) -> list[UUID] | Refusal:
        """What a strategy does to the active runs of a thread: the runs it stopped or asked to."""
        active = [run for run in self.runs_of(thread) if run.is_active]
        if strategy == "reject" and active:
            return Conflict
        if strategy in {"enqueue", "reject"}:
            return []
        for run in active:
            self._stop(run, "rollback" if strategy == "rollback" else "interrupt")
        return [run.run_id for run in active]

    def accepted(self, run: ModelRun) -> None:
        run.thread.temporary &= not self.runs_of(run.thread)
        run.thread.graph = run.graph
        self.runs.append(run)

    def cancel(self, run: ModelRun, action: CancelAction) -> RunStatus | Refusal:
        """The status the client is told."""
        if not run.is_active:
            return Conflict
        told = run.status
        return "interrupted" if self._stop(run, action) else told

    def _stop(self, run: ModelRun, action: CancelAction) -> bool:
        if run.status == "pending" and action == "rollback":
            self.take_back(run)
        elif run.status == "pending" and run.epoch == 0:
            run.status = "interrupted"
        else:
            run.cancel = "rollback" if run.cancel == "rollback" else action
            if run.delayed:
                run.delayed = False
            return False
        return True

    def take_back(self, run: ModelRun) -> None:
        """As if it had never been."""
        self.runs.remove(run)
        run.thread.checkpoints = {name: stored for name, stored in run.thread.checkpoints.items() if stored[0] != run.run_id}
        if left := self.runs_of(run.thread):
            run.thread.graph = left[-1].graph
        elif not run.thread.checkpoints:
            run.thread.graph = None

    def delete_thread(self, thread: ModelThread) -> None:
        del self.threads[thread.thread_id]
        self.runs = [run for run in self.runs if run.thread is not thread]

    # -- workers -------------------------------------------------------------------------------------------------

    def claimable(self) -> Iterator[ModelRun]:
        """Of each thread the run that has begun, or else the first accepted; one that was delayed before it began holds nobody up."""
        for thread in self.threads.values():
            active = [run for run in self.runs_of(thread) if run.is_active]
            if any(run.status == "running" for run in active):
                continue
            begun = [run for run in active if run.epoch > 0]
            in_line = begun or [run for run in active if not run.delayed]
            if in_line and not in_line[0].delayed:
                yield in_line[0]

    def claim(self, worker: str, limit: int) -> list[ModelRun]:
        """One that has begun before all others, then whoever was due first; told in the order of acceptance."""
        taken = sorted(sorted(self.claimable(), key=lambda run: (run.epoch == 0, run.due))[:limit], key=self.runs.index)
        for run in taken:
            run.status, run.worker, run.in_hand = "running", worker, True
            run.epoch += 1
            run.lease_over = run.claimed_long_ago = False
        return taken

    def finish(self, run: ModelRun, status: RunStatus, at_rest: str, values: Any, error: Any) -> None:
        run.status, run.error = status, error
        run.thread.at_rest, run.thread.error = at_rest, error
        if values is not None:
            run.thread.values = values

    def reap(self, max_attempts: int) -> tuple[list[UUID], list[UUID]]:
        """Runs returned to the queue, runs given up."""
        returned, given_up = [], []
        for run in [run for run in self.runs if run.status == "running" and run.lease_over]:
            if run.attempt < max_attempts:
                run.back_to_queue(counted=True)
                returned.append(run.run_id)
                continue
            given_up.append(run.run_id)
            if run.cancel == "rollback":
                self.take_back(run)
            elif run.cancel:
                self.finish(run, "interrupted", "idle", None, None)
            else:
                self.finish(run, "error", "error", None, "WorkerDied")
        return returned, given_up
