"""The time of day: models do not know it, and the prompt must not carry it, or its prefix could not be cached."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from freehold.core.errors import InvalidRequest


class CurrentTimeArguments(BaseModel):
    """Arguments of `current_time`."""

    timezone: str = Field(default="UTC", description='IANA time zone, e.g. "Europe/Berlin". Default: UTC.')


def tool() -> BaseTool:
    """The `current_time` tool."""
    return StructuredTool.from_function(
        coroutine=_answer,
        name="current_time",
        description="The current date, weekday and time, in UTC or a time zone.",
        args_schema=CurrentTimeArguments,
    )


async def _answer(timezone: str = "UTC") -> str:
    return describe(datetime.now(UTC), timezone)


def describe(now: datetime, timezone: str = "UTC") -> str:
    """`Friday 2026-11-20, 14:03:07 (Europe/Berlin, UTC+01:00)`.

    Raises:
        InvalidRequest: no such zone; close names are in the hint.
    """
    try:
        local = now.astimezone(ZoneInfo(timezone.strip() or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(f"there is no time zone {timezone[:60]!r}", hint=_nearest(timezone)) from error
    offset = local.strftime("%z")
    return f"{local:%A %Y-%m-%d, %H:%M:%S} ({timezone.strip() or 'UTC'}, UTC{offset[:3]}:{offset[3:5]})"


def _nearest(timezone: str) -> str:
    by_city = {name.rsplit("/", 1)[-1].lower(): name for name in sorted(available_timezones(), reverse=True)}
    asked = timezone.strip().lower().replace(" ", "_").rsplit("/", 1)[-1]
    close = difflib.get_close_matches(asked, by_city, n=3, cutoff=0.7)
    return f"use {' or '.join(by_city[city] for city in close)}" if close else 'use an IANA name such as "Europe/Berlin" or "UTC"'
