"""When crons fire: fields, names, and the two nights a year that clocks are changed in."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from freehold.core.errors import InvalidRequest
from freehold.core.schedule import MAX_CHARACTERS, Schedule


def firings(text: str, start: str, count: int, timezone: str | None = None) -> list[str]:
    """Local times of the next firings behind a moment in UTC, e.g. `03-29 03:00`."""
    schedule = Schedule.parse(text, timezone)
    found, moment = [], datetime.fromisoformat(start).replace(tzinfo=UTC)
    for _ in range(count):
        after = schedule.after(moment)
        assert after is not None and after > moment
        moment = after
        found.append(moment.astimezone(ZoneInfo(timezone or "UTC")).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
        ("30 9 * * mon-fri", ["01-01 09:30", "01-02 09:30", "01-05 09:30"]),
        ("0 12 1,15 * *", ["01-01 12:00", "01-15 12:00", "02-01 12:00"]),
        ("0 0 1 jan,jul *", ["07-01 00:00", "01-01 00:00", "07-01 00:00"]),
        ("0 8-18/5 * * *", ["01-01 08:00", "01-01 13:00", "01-01 18:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        ("0 0 * * mon#2", ["01-12 00:00", "02-09 00:00", "03-09 00:00"]),
        ("0 0 * * 5L", ["01-30 00:00", "02-27 00:00", "03-27 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("0 0 13 * fri", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("@daily", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        (" @Hourly ", ["01-01 01:00", "01-01 02:00", "01-01 03:00"]),
    ],
)
def test_a_schedule_of_five_fields_fires_as_cron_does(text: str, expected: list[str]) -> None:
    assert firings(text, "2026-01-01T00:00", 3) == expected


def test_a_sixth_field_in_front_is_seconds() -> None:
    schedule = Schedule.parse("*/20 * * * * *")
    assert schedule.after(datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)) == datetime(2026, 1, 1, 0, 0, 20, tzinfo=UTC)


def test_hours_are_those_of_the_zone_in_summer_and_in_winter() -> None:
    schedule = Schedule.parse("0 9 * * *", "America/New_York")
    assert schedule.after(datetime(2026, 1, 15, tzinfo=UTC)) == datetime(2026, 1, 15, 14, tzinfo=UTC)
    assert schedule.after(datetime(2026, 7, 15, tzinfo=UTC)) == datetime(2026, 7, 15, 13, tzinfo=UTC)


def test_an_hour_that_is_left_out_fires_as_soon_as_the_clocks_have_moved() -> None:
    assert firings("30 2 * * *", "2026-03-28T12:00", 2, "Europe/Berlin") == ["03-29 03:00", "03-30 02:30"]


def test_an_hour_that_comes_twice_fires_once() -> None:
    assert firings("30 2 * * *", "2026-10-24T12:00", 2, "Europe/Berlin") == ["10-25 02:30", "10-26 02:30"]


def test_asked_in_the_second_of_two_equal_hours_it_does_not_fire_again() -> None:
    in_the_second_one = "2026-10-25T01:15"  # 02:15 in Berlin, for the second time
    assert firings("30 2 * * *", in_the_second_one, 1, "Europe/Berlin") == ["10-26 02:30"]


def test_every_half_hour_follows_real_time_through_both_nights() -> None:
    for night in ("2026-03-28T22:00", "2026-10-24T22:00"):
        schedule, moment = Schedule.parse("*/30 * * * *", "Europe/Berlin"), datetime.fromisoformat(night).replace(tzinfo=UTC)
        found = [moment]
        for _ in range(12):
            found.append(schedule.after(found[-1]) or moment)
        assert {(later - earlier).total_seconds() for earlier, later in pairwise(found)} == {1800}


def test_a_midnight_that_does_not_exist_is_made_up_for() -> None:
    assert firings("0 0 * * *", "2026-04-23T12:00", 2, "Africa/Cairo") == ["04-24 01:00", "04-25 00:00"]


@pytest.mark.parametrize("text", ["0 0 * * *", "30 2 * * *", "*/15 0 * * *", "0 0 L * *", "59 59 23 31 12 *"])
def test_in_every_zone_there_is_from_the_year_a_day_was_left_out_on_there_is_a_next_time(text: str) -> None:
    for name in sorted(available_timezones() - {"localtime"}):
        schedule, moment = Schedule(text, ZoneInfo(name)), datetime(2011, 12, 29, 11, 30, tzinfo=UTC)
        for _ in range(3):
            following = schedule.after(moment)
            assert following is not None and following > moment
            moment = following


@pytest.mark.parametrize(
    ("text", "timezone", "told"),
    [
        ("", None, "wrong number of fields"),
        ("* * * *", None, "wrong number of fields"),
        ("60 * * * *", None, "the minute is wrong"),
        ("* 24 * * *", None, "the hour is wrong"),
        ("* * * foo *", None, "the month is wrong"),
        ("*/0 * * * *", None, "the minute is wrong"),
        ("0 22-2 * * *", None, "the hour is wrong"),
        ("0 0 31 2 *", None, "the day-of-month is wrong"),
        ("* * */20 * 1L", None, "does not fire in the next fifty years"),
        ("@reboot", None, "wrong number of fields"),
        ("* " * MAX_CHARACTERS, None, "longer than"),
        ("@daily", "Mars/Olympus", 'no time zone "Mars/Olympus"'),
        ("@daily", "../../etc/passwd", "no time zone"),
        ("@daily", "Europe", "no time zone"),
        ("@daily", "", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_was_expected(text: str, timezone: str | None, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        Schedule.parse(text, timezone)
    assert "expected" in str(refused.value.hint)
