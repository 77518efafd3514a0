"""Threads on the wire, and the state of one: bodies parsed at the edge, rows and snapshots in the SDK's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from langgraph.types import PregelTask, StateSnapshot
from pydantic import BaseModel, BeforeValidator, Field

from freehold.core.errors import InvalidRequest
from freehold.core.extract import parse_paths
from freehold.core.run import checkpoint_address, told_config
from freehold.server.wire.body import Body, JsonObject, SortOrder, only
from freehold.storage.lifetime import Strategy, TimeToLive
from freehold.storage.thread_search import ThreadFilter
from freehold.storage.thread_size import ThreadSize
from freehold.storage.threads import Thread, ThreadStatus

#: Rows one page may hold.
MAX_LIMIT = 1000
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Field(ge=0, le=2**31)]

#: An id of a checkpoint, a UUID as LangGraph makes them; other savers' ids pass too.
CheckpointId = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,100}$")]

#: Fields of a thread that a search may be asked for.
ThreadField = Literal[
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "context", "status", "values", "interrupts",
    "error", "ttl",
]  # fmt: skip

#: Ids one request may name.
MAX_IDS = 10_000
Ids = Annotated[list[UUID], Field(max_length=MAX_IDS)]


class Lifetime(Body):
    """How long a thread lives."""

    ttl: Annotated[float, Field(gt=0, le=5_256_000)]
    """Minutes from now."""
    strategy: Strategy = "delete"
    """`delete`: the thread goes with all it has; `keep_latest`: every so many minutes its older checkpoints go."""

    def plain(self) -> TimeToLive:
        return TimeToLive(self.ttl, self.strategy)


def _minutes(given: Any) -> Any:
    return {"ttl": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


#: A number of minutes, or `{"ttl": minutes, "strategy": …}`.
LifetimeGiven = Annotated[Lifetime, BeforeValidator(_minutes)]


class ThreadPatch(Body):
    """Metadata to merge."""

    metadata: JsonObject = Field(default_factory=dict)
    ttl: LifetimeGiven | None = None
    """Minutes from now until the thread is swept, or these with a strategy."""


class ThreadCount(Body):
    """Which threads to count."""

    metadata: JsonObject = Field(default_factory=dict)
    values: JsonObject = Field(default_factory=dict)
    status: ThreadStatus | None = None

    def filter(self) -> ThreadFilter:
        return ThreadFilter(metadata=self.metadata or None, values=self.values or None, status=self.status, limit=1)


class ThreadSearch(ThreadCount):
    """Which threads to show."""

    ids: Ids | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: str = "created_at"
    sort_order: SortOrder = "desc"
    select: list[ThreadField] | None = None
    extract: dict[str, str] = Field(default_factory=dict)
    """Name -> path, e.g. `{"last": "values.messages[-1].content"}`: shown as `extracted`."""

    def filter(self) -> ThreadFilter:
        return ThreadFilter(
            metadata=self.metadata or None,
            values=self.values or None,
            status=self.status,
            ids=self.ids,
            sort_by=self.sort_by,
            sort_order=self.sort_order,
            limit=self.limit,
            offset=self.offset,
            extract=parse_paths(self.extract),
            with_values=not self.select or "values" in self.select,
        )


class ThreadPrune(Body):
    """Which threads to prune, and how."""

    thread_ids: Ids
    strategy: Strategy = "delete"


class Pruned(BaseModel):
    """How many threads were pruned: those that exist, are the caller's and have no run."""

    pruned_count: int


class ThreadShown(BaseModel):
    """A thread as clients see it."""

    thread_id: UUID
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    metadata: JsonObject
    config: JsonObject
    status: ThreadStatus
    values: Any
    interrupts: dict[str, list[JsonObject]]
    error: JsonObject | None
    ttl: JsonObject | None = None
    """`{"strategy", "ttl_minutes", "expires_at"}`; only where it was asked for and the thread has one."""
    extracted: JsonObject | None = None
    """What a search was asked to extract."""


class StorageShown(BaseModel):
    """Bytes a thread takes in the checkpoint tables, as stored."""

    thread_id: UUID
    total_bytes: int
    checkpoints: JsonObject
    channel_values: JsonObject
    pending_writes: JsonObject


def storage(thread_id: UUID, size: ThreadSize) -> JsonObject:
    """Sizes as `StorageShown`."""
    return {
        "thread_id": thread_id,
        "total_bytes": size.checkpoints.bytes + size.values.bytes + size.writes.bytes,
        "checkpoints": asdict(size.checkpoints),
        "channel_values": {**asdict(size.values), "by_channel": {name: asdict(channel) for name, channel in size.channels.items()}},
        "pending_writes": asdict(size.writes),
    }


def lifetime(thread: Thread) -> JsonObject:
    """`{"ttl": …}` for a thread that has one."""
    if thread.ttl_minutes is None:
        return {}
    return {"ttl": {"strategy": thread.ttl_strategy, "ttl_minutes": thread.ttl_minutes, "expires_at": thread.expires_at}}


def found(thread: Thread, extracted: JsonObject | None, body: ThreadSearch) -> JsonObject:
    """A thread as a search shows it."""
    row = shown(thread, list(body.select) if body.select else None)
    if body.select and "ttl" in body.select:
        row |= lifetime(thread)
    return {**row, "extracted": extracted} if body.extract else row


def shown(thread: Thread, select: list[str] | None = None) -> JsonObject:
    """A row as `ThreadShown`."""
    everything = {
        "thread_id": thread.thread_id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": thread.metadata,
        "config": told_config(thread.config),
        "status": thread.status,
        "values": thread.values,
        "interrupts": thread.interrupts,
        "error": thread.error,
    }
    return only(select, everything)


#: Fields of a state that may be asked for, and `values.<key>` for one key of it.
_STATE_FIELDS = ("values", "next", "tasks", "checkpoint", "metadata", "created_at", "parent_checkpoint", "interrupts")


def state_fields(given: Any) -> list[str]:
    """`["next", "values.messages"]`, as a list or with commas between. Raises InvalidRequest."""
    asked = [given] if isinstance(given, str) else given
    if not isinstance(asked, list) or not all(isinstance(field, str) for field in asked):
        raise InvalidRequest("select: expected a list of fields")
    names = [name.strip() for field in asked for name in field.split(",") if name.strip()]
    for name in names:
        if name not in _STATE_FIELDS and not name.startswith("values."):
            raise InvalidRequest(f"select: a state has no {name[:60]!r}", hint=f"one of {', '.join(_STATE_FIELDS)}, or values.<key>")
    return names


StateFields = Annotated[list[str], BeforeValidator(state_fields)]


def selected(shown: JsonObject, select: list[str] | None) -> JsonObject:
    """The fields of a state a client asked for, or all; of the values, only the keys it named."""
    if not select:
        return shown
    part = {name: value for name, value in shown.items() if name in select}
    keys = {name.removeprefix("values.") for name in select if name.startswith("values.")}
    if keys and "values" not in select:
        values = shown["values"] if isinstance(shown["values"], dict) else {}
        part["values"] = {key: value for key, value in values.items() if key in keys}
    return part


class CheckpointGiven(Body):
    """Names a checkpoint."""

    thread_id: str | None = None
    checkpoint_ns: str = ""
    checkpoint_id: CheckpointId | None = None
    checkpoint_map: dict[str, CheckpointId | None] | None = None

    def plain(self) -> JsonObject:
        return self.model_dump(include={"checkpoint_ns", "checkpoint_id", "checkpoint_map"}, exclude_none=True)


class ConfigGiven(CheckpointGiven):
    """Names a checkpoint, or is a config that does."""

    configurable: CheckpointGiven | None = None


class StateUpdate(Body):
    """Values to write as if a node had returned them."""

    values: JsonObject | list[Any] | None = None
    as_node: str | None = None
    checkpoint: CheckpointGiven | None = None
    checkpoint_id: CheckpointId | None = None

    def chosen(self) -> JsonObject | None:
        if self.checkpoint:
            return self.checkpoint.plain()
        return {"checkpoint_id": self.checkpoint_id} if self.checkpoint_id else None


class StateAtCheckpoint(Body):
    """Which checkpoint to read."""

    checkpoint: CheckpointGiven
    subgraphs: bool = False
    select: StateFields | None = None


class HistoryQuery(Body):
    """Which states to list, newest first."""

    limit: Limit = 1
    before: CheckpointId | ConfigGiven | None = None
    """A checkpoint id, a checkpoint, or a config with one; states older than it."""
    metadata: JsonObject | None = None
    checkpoint: CheckpointGiven | None = None
    select: StateFields | None = None
    """Fields to show; `values.<key>` shows one key of the state."""

    def before_config(self) -> JsonObject | None:
        if self.before is None:
            return None
        if isinstance(self.before, str):
            return {"checkpoint_id": self.before}
        return (self.before.configurable or self.before).plain()


class StateShown(BaseModel):
    """The state of a thread at one checkpoint."""

    values: Any
    next: list[str]
    tasks: list[JsonObject]
    metadata: JsonObject | None
    created_at: str | None
    checkpoint: JsonObject
    parent_checkpoint: JsonObject | None
    interrupts: list[JsonObject]


class StateUpdated(BaseModel):
    """The checkpoint an update made."""

    checkpoint: JsonObject


def state(snapshot: StateSnapshot) -> JsonObject:
    """A snapshot as `StateShown`."""
    address = checkpoint_address(snapshot.config)
    return {
        "values": snapshot.values,
        "next": snapshot.next,
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": {**snapshot.metadata, "thread_id": address["thread_id"]} if snapshot.metadata else snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": address,
        "parent_checkpoint": checkpoint_address(snapshot.parent_config) if snapshot.parent_config else None,
        "interrupts": interrupts(snapshot.interrupts),
    }


def blank_state(thread: Thread) -> JsonObject:
    """State of a thread that has not run yet."""
    return {
        "values": thread.values or {},
        "next": [],
        "tasks": [],
        "metadata": {},
        "created_at": None,
        "checkpoint": {"thread_id": str(thread.thread_id), "checkpoint_ns": "", "checkpoint_id": None},
        "parent_checkpoint": None,
        "interrupts": [],
    }


def interrupts(found: Sequence[Any]) -> list[JsonObject]:
    """`Interrupt` values as clients know them, with the schema of the answers they take where the graph declared one."""
    return [
        {"value": interrupt.value, "id": interrupt.id, **({"response_schema": schema} if isinstance(schema, dict) else {})}
        for interrupt in found
        for schema in [getattr(interrupt, "response_schema", None)]
    ]


def interrupts_by_task(snapshot: StateSnapshot) -> JsonObject:
    """What a thread row keeps: `{task id: [{"value", "id"}]}`."""
    return {task.id: interrupts(task.interrupts) for task in snapshot.tasks if task.interrupts}


def _task(task: PregelTask) -> JsonObject:
    below: StateSnapshot | None = task.state if isinstance(task.state, StateSnapshot) else None
    return {
        "id": task.id,
        "name": task.name,
        "path": task.path,
        "error": None if task.error is None else str(task.error),
        "interrupts": interrupts(task.interrupts),
        "checkpoint": checkpoint_address(task.state) if isinstance(task.state, Mapping) else None,
        "state": state(below) if below else None,
        "result": task.result,
    }
