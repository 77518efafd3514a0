"""A cron: a run that is started again and again, by the clock, for the one who made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.run import MultitaskStrategy
from freehold.core.schedule import Schedule

OnRunCompleted = Literal["delete", "keep"]


@dataclass(frozen=True)
class Cron:
    """A row of the crons table."""

    cron_id: UUID
    organisation: str
    owner: str
    #: What its runs may touch: `shared`, `must` and `assistants` of the `Caller` who was let make it, the last two as JSON objects.
    shared: bool
    must: dict[str, Any]
    assistants: dict[str, Any] | None
    assistant_id: UUID
    #: None: every firing gets a thread of its own.
    thread_id: UUID | None
    schedule: str
    #: An IANA name; None is UTC.
    timezone: str | None
    #: Nothing fires behind it.
    end_time: datetime | None
    enabled: bool
    #: What becomes of a firing's own thread; None where it has none.
    on_run_completed: OnRunCompleted | None
    multitask_strategy: MultitaskStrategy
    #: As the client gave it.
    payload: dict[str, Any]
    #: A `RunRequest` as JSON.
    request: dict[str, Any]
    metadata: dict[str, Any]
    #: None: never again.
    next_run_date: datetime | None
    last_run_date: datetime | None
    last_run_id: UUID | None
    #: Why the last firing started no run.
    last_error: str | None
    created_at: datetime
    updated_at: datetime


def next_firing(schedule: Schedule, end_time: datetime | None, after: datetime) -> datetime | None:
    """When a cron fires next behind a moment; None: never again."""
    found = schedule.after(after)
    return None if found is None or (end_time is not None and found > end_time) else found


def acting(cron: Cron, **marks: str) -> Caller:
    """Who its runs act for: the one who made it, who sees what they saw then. `marks`: more that metadata must contain."""
    must = to_json({**cron.must, **marks}).decode()
    assistants = None if cron.assistants is None else to_json(cron.assistants).decode()
    return Caller(cron.organisation, cron.owner, shared=cron.shared, must=must, assistants=assistants)
