"""Ages as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from freehold.core.age import parse_age


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12h", timedelta(hours=12)), ("30d", timedelta(days=30)), (" 8w ", timedelta(weeks=8)), ("0d", timedelta(0))],
)
def test_an_age_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert parse_age(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "30 days", "30m", "1y", "999999d"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_age(text)
