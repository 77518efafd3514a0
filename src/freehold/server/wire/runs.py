"""Runs on the wire: what creates one, and how one is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from freehold.core.errors import Ambiguous, InvalidRequest
from freehold.core.run import HIDDEN, MAX_BATCH, Durability, MultitaskStrategy, Run, RunRequest, RunStatus, graph_keys, told_config
from freehold.server.wire.body import Body, JsonObject
from freehold.server.wire.threads import CheckpointGiven, CheckpointId

STREAM_MODES = (
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "custom",
    "debug",
    "tasks",
    "checkpoints",
    "events",
    "tools",
    "lifecycle",
)

#: Ten years; beyond it a date computed from it no longer fits where dates are stored.
MAX_AFTER_SECONDS = 315_360_000


def stream_modes(given: Any) -> tuple[str, ...]:
    """`"values"` or `["values", "custom"]` -> a tuple, each once.

    Raises:
        InvalidRequest: there is no such mode.
    """
    modes = [given] if isinstance(given, str) else given
    if not isinstance(modes, list | tuple) or not all(isinstance(mode, str) for mode in modes):
        raise InvalidRequest(f"stream_mode: expected one of {', '.join(STREAM_MODES)}, or a list of them")
    for mode in modes:
        if mode not in STREAM_MODES:
            raise InvalidRequest(f'stream_mode: there is no mode "{mode[:40]}"', hint=f"supported: {', '.join(STREAM_MODES)}")
    return tuple(dict.fromkeys(modes)) or ("values",)


def modes_in_query(given: Sequence[str]) -> frozenset[str] | None:
    """What a joining client chose: `["updates", "custom"]`, `['["updates"]']` as the JavaScript SDK writes it, or `[""]` for no choice.

    Raises as `stream_modes`.
    """
    chosen: list[Any] = []
    for part in given:
        try:
            chosen += orjson.loads(part) if part.startswith("[") else [part] if part else []
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"stream_mode: not JSON: {part[:40]}") from error
    return frozenset(stream_modes(chosen)) if chosen else None


def _list_of_one(given: Any) -> Any:
    return [given] if isinstance(given, str) and given != "*" else given


def refuse_both(configurable: Any, context: Any) -> None:
    """Raises Ambiguous where a graph's settings are given twice, as LangGraph's own server does."""
    if context and isinstance(configurable, dict) and graph_keys(configurable):
        raise Ambiguous(
            "both config.configurable and context are given", hint="give context alone: graphs that read configurable get it too"
        )


StreamModes = Annotated[tuple[str, ...], BeforeValidator(stream_modes)]
Nodes = Annotated[Literal["*"] | tuple[str, ...], BeforeValidator(_list_of_one)]


class Config(Body):
    """`config` of a run: tags, recursion limit and what the graph reads from `configurable`."""

    tags: tuple[str, ...] = ()
    recursion_limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    configurable: JsonObject = Field(default_factory=dict)
    metadata: JsonObject = Field(default_factory=dict)

    def plain(self) -> JsonObject:
        return {key: value for key, value in self.model_dump().items() if value}


class Goto(Body):
    """A node to go to, with input of its own."""

    node: str
    input: Any = None


class Command(Body):
    """Resumes an interrupt, updates the state, or goes to nodes."""

    update: JsonObject | list[tuple[str, Any]] | None = None
    resume: Any = None
    goto: str | Goto | list[str | Goto] | None = None

    def plain(self) -> JsonObject:
        return self.model_dump(exclude_unset=True)


class RunBody(Body):
    """What every way of creating a run takes."""

    refused: ClassVar[Mapping[str, str]] = {
        "feedback_keys": "they are answered with links into LangSmith; keep what users think of a run in its metadata",
        "langsmith_tracing": "nothing is sent to LangSmith; telemetry.otlp_endpoint sends traces where you want them",
    }

    assistant_id: Annotated[str, Field(min_length=1)]
    """An assistant's id, or a graph's."""
    input: Any = None
    """Input of the graph; null goes on from the last checkpoint."""
    command: Command | None = None
    """Resume, update or go to a node; not together with input."""
    config: Config = Config()
    context: JsonObject | None = None
    """Static context of the graph."""
    metadata: JsonObject = Field(default_factory=dict)
    stream_mode: StreamModes = ("values",)
    """What to stream, one or several of values, updates, messages, messages-tuple, custom, debug, tasks, checkpoints, events, tools,
    lifecycle."""
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    """Has no effect: every stream here can be rejoined."""
    interrupt_before: Nodes = ()
    """Nodes to stop before, or "*"."""
    interrupt_after: Nodes = ()
    """Nodes to stop after, or "*"."""
    strict_resume: bool = False
    """Fail a run whose resume answers no question that waits, instead of ignoring the answer; the thread stays as it was."""
    after_seconds: Annotated[float, Field(ge=0, le=MAX_AFTER_SECONDS)] = 0
    """Start this much later."""
    webhook: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """URL that is told how the run ended."""
    durability: Durability | None = None
    checkpoint_during: bool | None = None
    """Deprecated: true is durability "async", false is "exit"."""
    on_disconnect: Literal["cancel", "continue"] = "continue"
    """What a client that leaves `wait` or `stream` does to the run."""

    @model_validator(mode="after")
    def _input_or_command(self) -> RunBody:
        if self._command() and self.input not in (None, {}):
            raise ValueError("input and command exclude each other")
        refuse_both(self.config.configurable, self.context)
        return self

    def request(self) -> RunRequest:
        """What the worker gets."""
        return RunRequest(
            input=self.input,
            command=self._command(),
            config=self.config.plain(),
            context=self.context,
            metadata=self.metadata,
            stream_mode=self.stream_mode,
            stream_subgraphs=self.stream_subgraphs,
            stream_resumable=self.stream_resumable,
            interrupt_before=self.interrupt_before,
            interrupt_after=self.interrupt_after,
            checkpoint=self._checkpoint(),
            durability=self._durability(),
            strict_resume=self.strict_resume,
            on_completion=self._on_completion(),
            webhook=self.webhook,
        )

    def _command(self) -> JsonObject | None:
        return (self.command.plain() or None) if self.command else None

    def _durability(self) -> Durability:
        if self.durability:
            return self.durability
        return "exit" if self.checkpoint_during is False else "async"

    def _checkpoint(self) -> JsonObject | None:
        return None

    def _on_completion(self) -> Literal["keep", "delete"]:
        return "keep"


class RunOnThread(RunBody):
    """A run on a thread."""

    refused: ClassVar[Mapping[str, str]] = {**RunBody.refused, "on_completion": "it belongs to runs without a thread"}

    checkpoint: CheckpointGiven | None = None
    checkpoint_id: CheckpointId | None = None
    """Start from this checkpoint instead of the latest."""
    multitask_strategy: MultitaskStrategy = "enqueue"
    """What to do with runs that are active on the thread."""
    if_not_exists: Literal["create", "reject"] = "reject"
    """Whether a missing thread is made."""

    def _checkpoint(self) -> JsonObject | None:
        given = self.checkpoint.plain() if self.checkpoint else {}
        return {"checkpoint_id": self.checkpoint_id, **given} if self.checkpoint_id else given or None


class RunWithoutThread(RunBody):
    """A run on a thread made for it."""

    refused: ClassVar[Mapping[str, str]] = {
        **RunBody.refused,
        "thread_id": "POST /threads/{thread_id}/runs runs on a thread",
        "checkpoint": "a run without a thread has no checkpoint to start from",
        "checkpoint_id": "a run without a thread has no checkpoint to start from",
    }

    on_completion: Literal["keep", "delete"] = "delete"
    """Whether the thread stays after the run."""

    @model_validator(mode="after")
    def _nothing_to_resume(self) -> RunWithoutThread:
        if self.command and self.command.resume is not None:
            raise ValueError("a run without a thread has nothing to resume")
        return self

    def _on_completion(self) -> Literal["keep", "delete"]:
        return self.on_completion


#: Runs that are accepted together.
Batch = Annotated[list[RunWithoutThread], Field(min_length=1, max_length=MAX_BATCH)]


class RunsCancelled(Body):
    """Runs to stop: those with an id on a thread, or all of a status."""

    thread_id: UUID | None = None
    run_ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=1000)] | None = None
    status: Literal["pending", "running", "all"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> RunsCancelled:
        by_id = self.thread_id is not None and self.run_ids is not None
        if by_id == (self.status is not None) or (self.status and (self.thread_id or self.run_ids)):
            raise ValueError('give either thread_id and run_ids, or status: "pending", "running" or "all"')
        return self


#: What `select` may name.
Selected = Literal["run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata", "kwargs", "multitask_strategy"]


class RunShown(BaseModel):
    """A run as clients see it."""

    run_id: UUID
    thread_id: UUID
    assistant_id: UUID
    created_at: datetime
    updated_at: datetime
    status: RunStatus
    metadata: JsonObject
    kwargs: JsonObject
    multitask_strategy: MultitaskStrategy


def shown(run: Run) -> JsonObject:
    """A row as `RunShown`; plain, because a list of them is encoded faster than validated."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "status": run.status,
        "metadata": run.metadata,
        "kwargs": {
            **{key: value for key, value in asdict(run.request).items() if key not in HIDDEN},
            "config": told_config(run.request.config),
        },
        "multitask_strategy": run.multitask_strategy,
    }
