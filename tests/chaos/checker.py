"""Judges a history: pure, so that it can be tried on histories known to be bad. One function for each promise."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from tests.chaos.history import History, RunRecord, StoredCheckpoint, ThreadRecord

#: A run that was taken back.
GONE = "gone"

TERMINAL = frozenset({"success", "error", "timeout", "interrupted", GONE})


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and by what."""

    promise: str
    about: str


def check(history: History) -> list[Violation]:
    """Every violation found; empty for a history that keeps all promises."""
    return [Violation(promise, about) for promise, rule in RULES.items() for about in rule(history)]


def _unfinished(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.status not in TERMINAL or (run.ended_at is None and run.status != GONE):
            yield f"run {run.run_id} is {run.status}"
        elif run.ended_at is not None and run.ended_at - run.free_at > history.recovery_bound:
            yield f"run {run.run_id} took {run.ended_at - run.free_at:.1f} s after the fault was lifted"


def _ended_again(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.endings - {(run.status, run.ended_at)}:
            yield f"run {run.run_id} ended as {run.status}, before that it was seen as {sorted(run.endings)}"


def _stored_twice_or_skipped(history: History) -> Iterator[str]:
    for thread in history.threads:
        steps: dict[tuple[str, str], list[int]] = defaultdict(list)
        for checkpoint in _in_order(thread):
            steps[checkpoint.run_id, checkpoint.namespace].append(checkpoint.step)
        for (run_id, namespace), stored in steps.items():
            wanted = sorted(set(stored)) if thread.stored_at_exits else list(range(stored[0], stored[0] + len(stored)))
            if stored != wanted:
                yield f"run {run_id} stored steps {stored} {namespace}".rstrip()


def _other_steps(history: History) -> Iterator[str]:
    for thread in history.threads:
        stored = tuple(checkpoint.step for checkpoint in _in_order(thread) if not checkpoint.namespace)
        if thread.expected_steps is not None and stored != thread.expected_steps:
            yield f"thread {thread.thread_id} stored steps {stored} instead of {thread.expected_steps}"


def _written_in_turns(history: History) -> Iterator[str]:
    for thread in history.threads:
        writers = [run_id for run_id, _ in groupby(item.run_id for item in _in_order(thread) if not item.namespace)]
        if len(set(writers)) != len(writers):
            yield f"thread {thread.thread_id}: runs wrote in turns, {writers}"


def _in_order(thread: ThreadRecord) -> list[StoredCheckpoint]:
    return sorted(thread.checkpoints, key=lambda item: item.checkpoint_id)


def _forked(history: History) -> Iterator[str]:
    for thread in history.threads:
        children = Counter((checkpoint.namespace, checkpoint.parent_id) for checkpoint in thread.checkpoints)
        for (_, parent), count in children.items():
            if count > 1 and parent not in thread.forks:
                yield f"thread {thread.thread_id}: {count} checkpoints follow {parent or 'nothing'}"


def _wrong_result(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.status in TERMINAL and run.status != run.expected_status:
            yield f"run {run.run_id} ended as {run.status} instead of {run.expected_status}: {run.error}"
        if run.status in {"success", "error"} and run.values != run.expected:
            yield f"run {run.run_id} ended with {run.values!r} instead of {run.expected!r}"


def _left_by_taken_back(history: History) -> Iterator[str]:
    gone = {run.run_id for run in history.runs if run.status == GONE}
    for thread in history.threads:
        for checkpoint in thread.checkpoints:
            if checkpoint.run_id in gone:
                yield f"checkpoint {checkpoint.checkpoint_id} of run {checkpoint.run_id}"


def _stale_thread(history: History) -> Iterator[str]:
    for thread in history.threads:
        if thread.values != thread.last_checkpoint:
            yield f"thread {thread.thread_id} shows {thread.values!r}, its last checkpoint holds {thread.last_checkpoint!r}"


def _overlapping(history: History) -> Iterator[str]:
    by_thread: dict[str, list[RunRecord]] = defaultdict(list)
    for run in history.runs:
        if run.started_at is not None and run.status != GONE:
            by_thread[run.thread_id].append(run)
    for runs in by_thread.values():
        runs.sort(key=lambda run: run.started_at or 0.0)
        for earlier, later in pairwise(runs):
            if earlier.ended_at is None or (later.started_at or 0.0) < earlier.ended_at:
                yield f"run {later.run_id} began before {earlier.run_id} had ended"


def _without_reason(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.status in {"error", "timeout"} and not (run.error or {}).get("message"):
            yield f"run {run.run_id} ended as {run.status} and does not say why"


def _broken_stream(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.events is not None:
            yield from (f"run {run.run_id}: {fault}" for fault in _stream_faults(run))


def _stream_faults(run: RunRecord) -> Iterator[str]:
    assert run.events is not None
    ends = [place for place, event in enumerate(run.events) if event.name == "end"]
    if ends != [len(run.events) - 1]:
        yield f"{len(ends)} ends in {len(run.events)} events"
    last, told = (0, 0), False
    for event in run.events:
        if event.name == "gap":
            told = True
            continue
        if told and event.id == last:
            continue  # the state that comes with a gap carries the id before it
        if event.id <= last:
            yield f"event {event.id} after {last}"
        elif not told and event.id[1] != (last[1] + 1 if event.id[0] == last[0] else 1):
            yield f"a hole between {last} and {event.id}, and no gap was told"
        last, told = max(last, event.id), False


RULES: dict[str, Callable[[History], Iterator[str]]] = {
    "an accepted run reaches an end in time": _unfinished,
    "a run that has ended stays as it ended": _ended_again,
    "each superstep is stored once": _stored_twice_or_skipped,
    "the supersteps are those of an undisturbed run": _other_steps,
    "runs of a thread write one after another": _written_in_turns,
    "a checkpoint has one successor": _forked,
    "the final state is that of an undisturbed run": _wrong_result,
    "a run that was taken back leaves nothing": _left_by_taken_back,
    "a thread shows its last checkpoint": _stale_thread,
    "runs of a thread do not overlap": _overlapping,
    "a failed run says why": _without_reason,
    "a stream has no hole, no duplicate and one end": _broken_stream,
}
