"""Numbers of events on a thread: they rise over runs and attempts, and JavaScript can count to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.core import sequence
from freehold.core.errors import InvalidRequest
from freehold.core.run import Run, RunRequest

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def run(created_at: datetime, started_at: datetime | None) -> Run:
    some = UUID(int=1)
    return Run(some, some, some, "o", "a", "running", RunRequest(), {}, "enqueue", 1, 1, created_at, created_at, started_at=started_at)


def test_numbers_are_counted_from_when_the_attempt_began() -> None:
    assert sequence.base(run(NOON, NOON + timedelta(microseconds=7))) == sequence.microseconds(NOON) + 7


def test_a_claim_that_waited_for_the_accepting_transaction_is_not_before_it() -> None:
    assert sequence.base(run(NOON, NOON - timedelta(milliseconds=3))) == sequence.microseconds(NOON)


def test_a_run_that_has_not_begun_is_counted_from_its_acceptance() -> None:
    assert sequence.base(run(NOON, None)) == sequence.microseconds(NOON)


def test_javascript_can_count_to_them_for_two_hundred_years() -> None:
    assert sequence.microseconds(datetime(2250, 1, 1, tzinfo=UTC)) + 10**9 < sequence.MOST


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_a_moment_and_its_microseconds_are_the_same(moment: datetime) -> None:
    assert sequence.moment(sequence.microseconds(moment)) == moment


@pytest.mark.parametrize(
    ("text", "numbers"), [("", (0, 0)), ("-1", (0, 0)), ("0", (0, 0)), ("17", (17, 0)), ("1795288011048123-17", (1795288011048123, 17))]
)
def test_ids_of_clients_are_read(text: str, numbers: tuple[int, int]) -> None:
    assert sequence.parse(text) == numbers


@pytest.mark.parametrize("text", ["x", "-2", "1-", "1-2-3", "1" * 17, "１"])
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        sequence.parse(text)
