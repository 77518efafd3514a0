"""How long a thread lives, where it does not live for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: `delete` takes the thread with all it has, `keep_latest` all checkpoints but the newest.
Strategy = Literal["delete", "keep_latest"]


@dataclass(frozen=True)
class TimeToLive:
    """Minutes until a thread is swept, and how."""

    minutes: float
    strategy: Strategy = "delete"


def lifetime_arguments(ttl: TimeToLive | None) -> dict[str, Any]:
    """What a statement that makes or changes a thread takes."""
    return {"ttl_minutes": ttl.minutes if ttl else None, "ttl_strategy": ttl.strategy if ttl else None}


NO_LIFETIME = lifetime_arguments(None)
