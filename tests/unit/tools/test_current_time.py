"""The time in words a model can read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from freehold.core.errors import InvalidRequest
from freehold.tools.current_time import describe, tool

NOON = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)


def test_it_is_utc_without_a_zone() -> None:
    assert describe(NOON) == "Friday 2026-11-20, 12:00:05 (UTC, UTC+00:00)"


def test_a_zone_shifts_the_clock() -> None:
    assert describe(NOON, "Asia/Kolkata") == "Friday 2026-11-20, 17:30:05 (Asia/Kolkata, UTC+05:30)"


@pytest.mark.parametrize(
    ("zone", "hint"), [("Berlin", "use Europe/Berlin"), ("new york", "use America/New_York"), ("../../etc/passwd", "IANA")]
)
def test_an_unknown_zone_is_answered_with_near_ones(zone: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        describe(NOON, zone)
    assert hint in str(refusal.value.hint)


async def test_the_tool_needs_no_arguments() -> None:
    assert "UTC+00:00" in await tool().ainvoke({})
