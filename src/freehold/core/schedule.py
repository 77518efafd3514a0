"""When a cron fires: a cron expression in a time zone, and what happens to it where clocks are changed.

As Debian's cron has it (the library is a port of its rules): a schedule of fixed hours fires once in the night that repeats an hour, and
one whose hour is left out fires as soon as the clocks have moved on. A schedule of every hour or every few minutes follows real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from freehold.core.errors import InvalidRequest

#: Longer ones are no schedules; reading one takes time for each character.
MAX_CHARACTERS = 200

#: Names cron knows for whole expressions.
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_EXPECTED = (
    'expected five fields (minute, hour, day of month, month, day of week), e.g. "0 9 * * mon-fri"; six with seconds in front; or @daily'
)


@dataclass(frozen=True)
class Schedule:
    """A cron expression that was found valid, and the zone its hours are meant in."""

    expression: str
    zone: tzinfo

    @classmethod
    def parse(cls, text: str, timezone: str | None = None) -> Schedule:
        """`parse("0 9 * * mon-fri", "Europe/Berlin")`; no zone is UTC.

        Raises:
            InvalidRequest: the expression or the zone is wrong, or no day in fifty years matches it.
        """
        expression = NAMED.get(text.strip().lower(), text.strip())
        schedule = cls(expression, zone_named(timezone))
        if len(text) > MAX_CHARACTERS:
            raise InvalidRequest(f"schedule: longer than {MAX_CHARACTERS} characters", hint=_EXPECTED)
        try:
            CronSim(expression, datetime(2000, 1, 1))
        except CronSimError as error:
            raise InvalidRequest(f'schedule: "{text}": {_told(error)}', hint=_EXPECTED) from error
        if schedule.after(datetime.now(UTC)) is None:
            raise InvalidRequest(f'schedule: "{text}" does not fire in the next fifty years', hint=_EXPECTED)
        return schedule

    def after(self, moment: datetime) -> datetime | None:
        """The first time to fire behind a moment, in UTC; None: not within fifty years.

        Args:
            moment: with a time zone.
        """
        # Told in the schedule's zone, a moment of the hour that comes twice may look earlier than it is.
        for found in CronSim(self.expression, moment.astimezone(self.zone)):
            if (at := found.astimezone(UTC)) > moment:
                return at
        return None


def zone_named(timezone: str | None) -> tzinfo:
    """The zone with an IANA name; None is UTC.

    Raises:
        InvalidRequest: there is none of that name.
    """
    if timezone is None or timezone.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(
            f'timezone: there is no time zone "{timezone[:60]}"', hint='expected an IANA name such as "Europe/Berlin"; null is UTC'
        ) from error


def _told(error: CronSimError) -> str:
    """`Bad minute` -> `the minute is wrong`."""
    text = str(error)
    return f"the {text.removeprefix('Bad ')} is wrong" if text.startswith("Bad ") else text.lower()
