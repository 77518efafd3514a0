from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.core.errors import InvalidRequest
from freehold.core.event import START, EventId

NUMBERS = st.integers(0, 10**18 - 1)


@given(NUMBERS, NUMBERS)
def test_an_id_reads_back_as_written(epoch: int, seq: int) -> None:
    assert EventId.parse(str(EventId(epoch, seq))) == EventId(epoch, seq)


@given(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS))
def test_ids_are_ordered_by_claim_then_number(left: tuple[int, int], right: tuple[int, int]) -> None:
    assert (EventId(*left) < EventId(*right)) is (left < right)


@pytest.mark.parametrize("text", ["", "-1", "0", "0-0"])
def test_several_texts_mean_the_start(text: str) -> None:
    assert EventId.parse(text) == START


@pytest.mark.parametrize("text", ["1", "1-", "-1-2", "1-2-3", "a-b", "1-2 ", "1.5-2", "9" * 19 + "-1", "$", "+"])
def test_another_text_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        EventId.parse(text)
    assert text in str(caught.value) and "Last-Event-ID" in str(caught.value)


def test_a_long_text_is_quoted_in_part() -> None:
    with pytest.raises(InvalidRequest) as caught:
        EventId.parse("x" * 5000)
    assert len(str(caught.value)) < 200
