"""The checker finds each kind of damage in a history made by hand, and nothing in a good one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.history import History, RunRecord, SeenEvent, StoredCheckpoint, ThreadRecord

EVENTS = tuple(SeenEvent(id, name) for id, name in [((1, 1), "metadata"), ((1, 2), "values"), ((2, 1), "metadata"), ((2, 2), "end")])
RUN = RunRecord("r", "t", "success", None, 1.0, 2.0, 1.0, {"n": 2}, {"n": 2}, EVENTS)
CHECKPOINTS = tuple(StoredCheckpoint(str(n), str(n - 1) if n else None, "r", n - 1) for n in range(4))
THREAD = ThreadRecord("t", {"n": 2}, {"n": 2}, CHECKPOINTS)
GOOD = History((RUN,), (THREAD,), recovery_bound=15)


def with_run(**changes: Any) -> History:
    return replace(GOOD, runs=(replace(RUN, **changes),))


def with_events(*events: tuple[tuple[int, int], str]) -> History:
    return with_run(events=tuple(SeenEvent(*event) for event in events))


def with_thread(**changes: Any) -> History:
    return replace(GOOD, threads=(replace(THREAD, **changes),))


def test_a_good_history_has_no_violation() -> None:
    assert check(GOOD) == []


#: A run given back in the middle stores what it has; stored twice it is still found.
TWICE_AT_EXIT = (*CHECKPOINTS, StoredCheckpoint("4", "3", "r", 2))

BAD = [
    ("stored once", with_thread(checkpoints=TWICE_AT_EXIT, stored_at_exits=True)),
    ("reaches an end", with_run(status="running", ended_at=None)),
    ("reaches an end", with_run(ended_at=99.0)),
    ("stays as it ended", with_run(endings=frozenset({("error", 1.5), ("success", 2.0)}))),
    ("stored once", with_thread(checkpoints=(*CHECKPOINTS, StoredCheckpoint("4", "3", "r", 2)))),
    ("stored once", with_thread(checkpoints=CHECKPOINTS[:2] + CHECKPOINTS[3:])),
    ("one successor", with_thread(checkpoints=(*CHECKPOINTS, StoredCheckpoint("4", "2", "r", 3)))),
    (
        "stored once",
        with_thread(checkpoints=(*CHECKPOINTS, StoredCheckpoint("4", None, "r", 0, "i"), StoredCheckpoint("5", "4", "r", 0, "i"))),
    ),
    (
        "one successor",
        with_thread(checkpoints=(*CHECKPOINTS, StoredCheckpoint("4", None, "r", 0, "i"), StoredCheckpoint("5", None, "s", 1, "i"))),
    ),
    ("supersteps are", with_thread(expected_steps=(-1, 0, 1, 2, 3))),
    ("supersteps are", with_thread(expected_steps=(-1, 0, 2))),
    (
        "one after another",
        with_thread(checkpoints=(*CHECKPOINTS, StoredCheckpoint("4", "3", "s", 3), StoredCheckpoint("5", "4", "r", 4))),
    ),
    ("undisturbed run", with_run(status="error", error={"message": "gave up"})),
    ("undisturbed", with_run(values={"n": 3})),
    ("final state", with_run(status="gone")),
    ("leaves nothing", with_run(status="gone", expected_status="gone", events=None)),
    ("final state", with_run(status="error", error={"message": "it failed"}, expected_status="error", values={"n": 3})),
    ("last checkpoint", with_thread(values={"n": 1})),
    ("overlap", replace(GOOD, runs=(RUN, replace(RUN, run_id="s", started_at=1.5)))),
    ("says why", with_run(status="error", error=None)),
    ("no hole", with_events(((1, 1), "metadata"), ((1, 3), "end"))),
    ("no hole", with_events(((1, 1), "metadata"), ((1, 1), "metadata"), ((1, 2), "end"))),
    ("no hole", with_events(((1, 1), "metadata"), ((2, 1), "metadata"), ((1, 2), "end"))),
    ("no hole", with_events(((1, 1), "metadata"))),
    ("no hole", with_events(((1, 1), "end"), ((1, 2), "end"))),
]


@pytest.mark.parametrize(("promise", "history"), BAD)
def test_damage_is_found_and_named(promise: str, history: History) -> None:
    assert [violation for violation in check(history) if promise in violation.promise]


def test_a_run_that_was_taken_back_with_all_it_left_is_no_violation() -> None:
    gone = RunRecord("s", "t", "gone", None, 1.0, None, 1.0, None, None, None, "gone")
    assert check(replace(GOOD, runs=(RUN, gone))) == []


def test_a_run_that_stores_only_what_it_leaves_may_skip_steps() -> None:
    assert check(with_thread(checkpoints=(replace(CHECKPOINTS[0], step=2), replace(CHECKPOINTS[1], step=4)), stored_at_exits=True)) == []


def test_every_rule_is_broken_by_some_history_here() -> None:
    assert all(any(promise in rule for promise, _ in BAD) for rule in RULES)


def test_a_hole_that_was_told_is_no_violation() -> None:
    assert check(with_events(((1, 1), "metadata"), ((1, 1), "gap"), ((1, 1), "values"), ((1, 5), "values"), ((1, 6), "end"))) == []


def test_a_fork_that_was_asked_for_is_no_violation() -> None:
    forked = (*CHECKPOINTS, StoredCheckpoint("4", "2", "s", 2))
    assert check(with_thread(checkpoints=forked, forks=frozenset({"2"}))) == []
