"""What a new thread begins with: metadata, a time to live, and the steps of a state it takes over from elsewhere."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from langgraph.types import Command, Send, StateUpdate
from pydantic import Field

from freehold.core.errors import InvalidRequest
from freehold.server.wire import runs
from freehold.server.wire.body import Body, JsonObject
from freehold.server.wire.threads import LifetimeGiven

#: Steps a thread may begin with.
MAX_SUPERSTEPS = 1000


class SuperstepUpdate(Body):
    """What one node is taken to have returned."""

    values: JsonObject | list[Any] | None = None
    command: runs.Command | None = None
    """`update` and `goto` instead of values."""
    as_node: str

    def plain(self) -> StateUpdate:
        """For LangGraph. Raises InvalidRequest where a command answers an interrupt: that takes a run."""
        if self.command is None:
            return StateUpdate(self.values, self.as_node)  # type: ignore[arg-type]  # LangGraph takes lists of writes too
        asked = self.command.plain()
        if asked.get("resume") is not None:
            raise InvalidRequest("supersteps: a command with resume needs a run", hint="POST /threads/{thread_id}/runs")
        targets = asked.get("goto") or []
        goto = [
            Send(item["node"], item.get("input")) if isinstance(item, dict) else item
            for item in (targets if isinstance(targets, list) else [targets])
        ]
        return StateUpdate(Command(update=asked.get("update"), goto=goto), self.as_node)  # type: ignore[arg-type]  # as above


class Superstep(Body):
    """Updates that make one checkpoint."""

    updates: list[SuperstepUpdate] = Field(min_length=1)


class ThreadCreate(Body):
    """A new thread."""

    thread_id: UUID | None = None
    metadata: JsonObject = Field(default_factory=dict)
    graph_id: str | None = None
    """Graph the thread is for; lets its state be read and written before the first run."""
    if_exists: Literal["raise", "do_nothing"] = "raise"
    ttl: LifetimeGiven | None = None
    """Minutes from now until the thread is swept, or these with a strategy."""
    supersteps: list[Superstep] = Field(default_factory=list, max_length=MAX_SUPERSTEPS)
    """The state it begins with: one checkpoint for each. Needs `graph_id`."""

    def all_metadata(self) -> JsonObject:
        return {**self.metadata, "graph_id": self.graph_id} if self.graph_id else self.metadata
