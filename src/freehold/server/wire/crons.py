"""Crons on the wire: what makes one, what changes one, and how one is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from freehold.core.cron import Cron, OnRunCompleted, next_firing
from freehold.core.run import MultitaskStrategy
from freehold.core.schedule import Schedule
from freehold.server.wire.body import Body, JsonObject, SortOrder, only
from freehold.server.wire.runs import Config, Nodes, RunBody, StreamModes
from freehold.server.wire.threads import Limit, Offset
from freehold.storage.crons import CronFilter

#: What null takes away in a PATCH; elsewhere null is as good as absent.
CLEARED_BY_NULL = frozenset({"end_time", "timezone", "webhook"})

#: What a cron has been made for stays.
_FIXED = {
    "assistant_id": "delete this cron and create another one",
    "thread_id": "delete this cron and create another one",
    "cron_id": "ids do not change",
}


def _with_zone(given: datetime) -> datetime:
    return given if given.tzinfo else given.replace(tzinfo=UTC)


EndTime = Annotated[datetime, AfterValidator(_with_zone)]


class CronBody(RunBody):
    """A run to start by the clock."""

    refused: ClassVar[Mapping[str, str]] = {
        **RunBody.refused,
        "after_seconds": "the schedule says when",
        "checkpoint": "a firing goes on from the newest checkpoint of its thread",
        "checkpoint_id": "a firing goes on from the newest checkpoint of its thread",
        "if_not_exists": "the thread has to exist",
        "on_completion": 'it is called "on_run_completed" here',
    }

    schedule: str
    """Five fields (minute, hour, day of month, month, day of week), six with seconds in front, or @daily and the like."""
    timezone: str | None = None
    """IANA name of the zone the schedule is meant in, e.g. "Europe/Berlin"; null is UTC."""
    end_time: EndTime | None = None
    """Nothing fires behind it."""
    enabled: bool = True
    multitask_strategy: MultitaskStrategy = "enqueue"
    """What to do with runs that are active on the thread."""

    def cron(
        self, cron_id: UUID, assistant_id: UUID, *, payload: JsonObject, thread_id: UUID | None, user: JsonObject | None, now: datetime
    ) -> Cron:
        """The cron it describes. `user`: who its runs act for, as the project's own authentication gave them.

        Raises:
            InvalidRequest: the schedule or the time zone is wrong.
        """
        schedule = Schedule.parse(self.schedule, self.timezone)
        request = {**asdict(self.request()), "user": user}
        return Cron(
            cron_id=cron_id,
            organisation="",
            owner="",
            shared=False,
            must={},
            assistants=None,
            assistant_id=assistant_id,
            thread_id=thread_id,
            schedule=self.schedule,
            timezone=self.timezone,
            end_time=self.end_time,
            enabled=self.enabled,
            on_run_completed=self._on_run_completed(),
            multitask_strategy=self.multitask_strategy,
            payload={**payload, "assistant_id": str(assistant_id)},
            request=request,
            metadata=self.metadata,
            next_run_date=next_firing(schedule, self.end_time, now),
            last_run_date=None,
            last_run_id=None,
            last_error=None,
            created_at=now,
            updated_at=now,
        )

    def _on_run_completed(self) -> OnRunCompleted | None:
        return None


class CronOnThread(CronBody):
    """A cron whose runs share a thread."""

    refused: ClassVar[Mapping[str, str]] = {**CronBody.refused, "on_run_completed": "it belongs to crons without a thread"}


class CronWithoutThread(CronBody):
    """A cron whose runs get a thread each."""

    on_run_completed: OnRunCompleted = "delete"
    """What becomes of the thread once its run has ended."""

    def _on_run_completed(self) -> OnRunCompleted | None:
        return self.on_run_completed

    def _on_completion(self) -> Literal["keep", "delete"]:
        return self.on_run_completed


class CronPatch(Body):
    """What to change; what is left out stays. `end_time: null` takes the end away, `timezone: null` means UTC."""

    refused: ClassVar[Mapping[str, str]] = {**CronBody.refused, **_FIXED}

    schedule: str | None = None
    timezone: str | None = None
    end_time: EndTime | None = None
    enabled: bool | None = None
    """True also brings back a cron that was disabled because something it needs was gone."""
    input: Any = None
    config: Config | None = None
    context: JsonObject | None = None
    metadata: JsonObject | None = None
    """Merged with what there is."""
    webhook: str | None = None
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    on_run_completed: OnRunCompleted | None = None
    multitask_strategy: MultitaskStrategy | None = None
    stream_mode: StreamModes | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    durability: Literal["sync", "async", "exit"] | None = None


def patched(cron: Cron, given: Mapping[str, Any], now: datetime) -> Cron:
    """A cron with what a PATCH gave, in the client's own JSON.

    Raises:
        RequestValidationError: what comes out is no cron.
        InvalidRequest: the same, of its schedule or time zone.
        NotSupported: it is about a thread of its own, and the cron's runs share one.
    """
    changes = {key: value for key, value in given.items() if value is not None or key in CLEARED_BY_NULL}
    metadata = {**cron.metadata, **(changes.get("metadata") or {})}
    payload = {**cron.payload, **changes, "metadata": metadata}
    try:
        body = (CronWithoutThread if cron.thread_id is None else CronOnThread).model_validate(payload)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    after = body.cron(cron.cron_id, cron.assistant_id, payload=payload, thread_id=cron.thread_id, user=cron.request.get("user"), now=now)
    is_timed_anew = not changes.keys().isdisjoint({"schedule", "timezone", "end_time", "enabled"})
    return replace(
        after,
        last_run_date=cron.last_run_date,
        last_run_id=cron.last_run_id,
        last_error=None if after.enabled else cron.last_error,
        next_run_date=after.next_run_date if is_timed_anew else cron.next_run_date,
    )


class CronCount(Body):
    """Which crons to count."""

    assistant_id: str | None = None
    """An assistant's id, or a graph's."""
    thread_id: UUID | None = None
    enabled: bool | None = None
    metadata: JsonObject = Field(default_factory=dict)

    def filter(self, assistant_id: UUID | None) -> CronFilter:
        return CronFilter(assistant_id, self.thread_id, self.enabled, self.metadata or None, limit=1)


#: What a client may select; the last four are ours.
CronField = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "user_id",
    "end_time",
    "schedule",
    "timezone",
    "payload",
    "next_run_date",
    "metadata",
    "on_run_completed",
    "enabled",
    "created_at",
    "updated_at",
    "multitask_strategy",
    "last_run_date",
    "last_run_id",
    "last_error",
]


class CronSearch(CronCount):
    """Which crons to show."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: str = "created_at"
    sort_order: SortOrder = "desc"
    select: list[CronField] | None = None

    def filter(self, assistant_id: UUID | None) -> CronFilter:
        return replace(super().filter(assistant_id), sort_by=self.sort_by, sort_order=self.sort_order, limit=self.limit, offset=self.offset)


class CronShown(BaseModel):
    """A cron as clients see it."""

    cron_id: UUID
    assistant_id: UUID
    thread_id: UUID | None
    user_id: str
    end_time: datetime | None
    schedule: str
    timezone: str | None
    payload: JsonObject
    next_run_date: datetime | None
    metadata: JsonObject
    on_run_completed: OnRunCompleted | None
    enabled: bool
    created_at: datetime
    updated_at: datetime
    multitask_strategy: MultitaskStrategy
    last_run_date: datetime | None
    last_run_id: UUID | None
    last_error: str | None


def shown(cron: Cron, select: Sequence[str] | None = None) -> JsonObject:
    """A row as `CronShown`."""
    everything = {name: getattr(cron, name) for name in CronShown.model_fields if name != "user_id"}
    config = cron.payload.get("config") or {}
    with_id = {**config, "configurable": {**(config.get("configurable") or {}), "cron_id": str(cron.cron_id)}}  # as its runs find it
    return only(list(select) if select else None, {**everything, "user_id": cron.owner, "payload": {**cron.payload, "config": with_id}})
