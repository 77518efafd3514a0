"""A run: one execution of an assistant, and the rules its status follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

RunStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
MultitaskStrategy = Literal["enqueue", "reject", "interrupt", "rollback"]
CancelAction = Literal["interrupt", "rollback"]
Durability = Literal["sync", "async", "exit"]

#: Runs that are accepted together, at most.
MAX_BATCH = 1000

ACTIVE: frozenset[str] = frozenset({"pending", "running"})
TERMINAL: frozenset[str] = frozenset({"success", "error", "timeout", "interrupted"})


#: Fields of a request that are not shown among its others: kept elsewhere, or nobody's business.
HIDDEN = frozenset({"metadata", "origin", "user", "graph_id", "event_streaming"})


@dataclass(frozen=True)
class RunRequest:
    """What a client asked for; stored as JSON with the run and read by the worker that executes it."""

    input: Any = None
    command: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    context: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    stream_mode: tuple[str, ...] = ("values",)
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    interrupt_before: tuple[str, ...] | Literal["*"] = ()
    interrupt_after: tuple[str, ...] | Literal["*"] = ()
    checkpoint: dict[str, Any] | None = None
    durability: Durability = "async"
    on_completion: Literal["keep", "delete"] = "keep"
    #: Where to report its end: a URL, or a path of the project's own app.
    webhook: str | None = None
    #: Who asked, as the project's own authentication gave it; None where keys or nothing decided. Not shown to clients.
    user: dict[str, Any] | None = None
    #: Whether a resume that answers no question that waits fails the run, instead of being ignored.
    strict_resume: bool = False
    #: The graph to execute. None in runs accepted before it was stored: theirs are those of system assistants.
    graph_id: str | None = None
    #: Started by a command of the event streaming protocol: everything is streamed, in the protocol's own shape.
    event_streaming: bool = False
    #: The request that asked, for logs and traces: `request_id` and W3C `traceparent`. Not shown to clients.
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A row of the runs table. `epoch` rises with every claim; only the worker holding the current one may write."""

    run_id: UUID
    thread_id: UUID
    assistant_id: UUID
    organisation: str
    owner: str
    status: RunStatus
    request: RunRequest
    metadata: dict[str, Any]
    multitask_strategy: MultitaskStrategy
    epoch: int
    attempt: int
    created_at: datetime
    updated_at: datetime
    error: dict[str, Any] | None = None
    #: Somebody asked it to stop.
    cancel: CancelAction | None = None
    #: When it may start; later than `created_at` where that was asked for, or after a setback.
    available_at: datetime | None = None
    #: When the last claim began, by the database's clock; None while it has never been claimed.
    started_at: datetime | None = None
    #: Seconds since `updated_at` when it was read, by the database's clock; 0 where nobody asked for it (`Runs.get` does).
    untouched_seconds: float = 0.0

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE


#: Keys of `configurable` that name a thread and a checkpoint.
_ADDRESS = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})

#: How those begin that say who somebody is, and LangGraph's own.
_NOT_FOR_CLIENTS = ("__", "langgraph_auth", "freehold_")


#: Headers with credentials that a project has its runs told of (`http.configurable_headers`).
_CREDENTIAL = re.compile(
    r"(proxy-)?authorization|cookie|x-([a-z0-9-]*-)?(auth|api|access|session|id)?-?(auth|key|token|secret|session|jwt)"
)


def checkpoint_address(config: Mapping[str, Any]) -> dict[str, Any]:
    """`{"configurable": {"thread_id": …, "checkpoint_id": …}}` -> the checkpoint clients know and send back: only keys it has.

    The address of a subgraph that has yet to write has no `checkpoint_id`; `checkpoint_map` is part of subgraphs' checkpoints only.
    """
    found = config.get("configurable") or {}
    named = {key: found[key] for key in ("checkpoint_id", "checkpoint_map") if found.get(key) is not None}
    return {"thread_id": found.get("thread_id"), "checkpoint_ns": found.get("checkpoint_ns") or "", **named}


def told_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as clients are shown it, some of whom only read what others run: without who somebody is and what proves it."""
    configurable = config.get("configurable")
    if not isinstance(configurable, Mapping):
        return dict(config)
    kept = {key: value for key, value in configurable.items() if not key.startswith(_NOT_FOR_CLIENTS) and not _CREDENTIAL.fullmatch(key)}
    return {**config, "configurable": kept}


def graph_keys(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """What a client may give a graph by `configurable`: not where it runs, not for whom, nothing of LangGraph's own."""
    return {key: value for key, value in configurable.items() if key not in _ADDRESS and not key.startswith(_NOT_FOR_CLIENTS)}
