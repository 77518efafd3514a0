"""Threads on the wire, and the state of one: bodies parsed at the edge, rows and snapshots in the SDK's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.types import PregelTask, StateSnapshot
from pydantic import BaseModel, Field, field_validator

from freehold.server.wire.body import Body, JsonObject, only
from freehold.storage.threads import Thread, ThreadFilter, ThreadStatus

#: Rows one page may hold.
MAX_LIMIT = 1000
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Field(ge=0, le=2**31)]

#: An id of a checkpoint, a UUID as LangGraph makes them; other savers' ids pass too.
CheckpointId = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,100}$")]

_NO_TTL = "threads stay until they are deleted"


class ThreadCreate(Body):
    """A new thread."""

    refused: ClassVar[Mapping[str, str]] = {"ttl": _NO_TTL, "supersteps": "create the thread, then POST its state for each step"}

    thread_id: UUID | None = None
    metadata: JsonObject = Field(default_factory=dict)
    graph_id: str | None = None
    """Graph the thread is for; lets its state be read and written before the first run."""
    if_exists: Literal["raise", "do_nothing"] = "raise"

    def all_metadata(self) -> JsonObject:
        return {**self.metadata, "graph_id": self.graph_id} if self.graph_id else self.metadata


class ThreadPatch(Body):
    """Metadata to merge."""

    refused: ClassVar[Mapping[str, str]] = {"ttl": _NO_TTL}

    metadata: JsonObject = Field(default_factory=dict)


class ThreadCount(Body):
    """Which threads to count."""

    metadata: JsonObject = Field(default_factory=dict)
    values: JsonObject = Field(default_factory=dict)
    status: ThreadStatus | None = None

    def filter(self) -> ThreadFilter:
        return ThreadFilter(metadata=self.metadata or None, values=self.values or None, status=self.status, limit=1)


class ThreadSearch(ThreadCount):
    """Which threads to show."""

    refused: ClassVar[Mapping[str, str]] = {"extract": 'select "values" and take the parts out of it'}

    ids: list[UUID] | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    select: list[str] | None = None

    @field_validator("sort_order", mode="before")
    @classmethod
    def _lower(cls, given: Any) -> Any:
        return given.lower() if isinstance(given, str) else given

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
        )


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


def shown(thread: Thread, select: list[str] | None = None) -> JsonObject:
    """A row as `ThreadShown`."""
    everything = {
        "thread_id": thread.thread_id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": thread.metadata,
        "config": thread.config,
        "status": thread.status,
        "values": thread.values,
        "interrupts": thread.interrupts,
        "error": thread.error,
    }
    return only(select, everything)


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

    refused: ClassVar[Mapping[str, str]] = {"select": "take the parts out of the whole state"}

    checkpoint: CheckpointGiven
    subgraphs: bool = False


class HistoryQuery(Body):
    """Which states to list, newest first."""

    refused: ClassVar[Mapping[str, str]] = {"select": "take the parts out of the whole states"}

    limit: Limit = 1
    before: CheckpointId | ConfigGiven | None = None
    """A checkpoint id, a checkpoint, or a config with one; states older than it."""
    metadata: JsonObject | None = None
    checkpoint: CheckpointGiven | None = None

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
    return {
        "values": snapshot.values,
        "next": snapshot.next,
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint(snapshot.config),
        "parent_checkpoint": checkpoint(snapshot.parent_config) if snapshot.parent_config else None,
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


def checkpoint(config: RunnableConfig | Mapping[str, Any]) -> JsonObject:
    """`{"configurable": {"thread_id": …, "checkpoint_id": …}}` -> the checkpoint clients send back."""
    found = config.get("configurable") or {}
    named = {key: found.get(key) for key in ("thread_id", "checkpoint_ns", "checkpoint_id")}
    return {**named, "checkpoint_ns": named["checkpoint_ns"] or "", "checkpoint_map": found.get("checkpoint_map")}


def interrupts(found: Sequence[Any]) -> list[JsonObject]:
    """`Interrupt` values as clients know them."""
    return [{"value": interrupt.value, "id": interrupt.id} for interrupt in found]


def interrupts_by_task(snapshot: StateSnapshot) -> JsonObject:
    """What a thread row keeps: `{task id: [{"value", "id"}]}`."""
    return {task.id: interrupts(task.interrupts) for task in snapshot.tasks if task.interrupts}


def _task(task: PregelTask) -> JsonObject:
    below: StateSnapshot | None = task.state if isinstance(task.state, StateSnapshot) else None
    address = below.config if below else task.state
    return {
        "id": task.id,
        "name": task.name,
        "path": task.path,
        "error": None if task.error is None else str(task.error),
        "interrupts": interrupts(task.interrupts),
        "checkpoint": checkpoint(address) if isinstance(address, Mapping) else None,
        "state": state(below) if below else None,
        "result": task.result,
    }
