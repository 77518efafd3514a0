"""Plain chat on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from freehold.server.wire.body import Body, JsonObject


class ChatBody(Body):
    """One message of the user."""

    message: Annotated[str, Field(min_length=1)]
    thread_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Any text that names the conversation, such as "test-1"; without it a new one begins."""
    assistant_id: str | None = None
    """Which agent to talk to; default: the server's."""
    stream: bool = False
    """Answer with server-sent events: token, tool_call, tool_result, restart, done, error."""


class ChatShown(BaseModel):
    """The agent's answer."""

    response: str
    thread_id: str
    run_id: str
    tool_calls: list[JsonObject]
    sources: list[Any]
    usage: dict[str, int] | None
    interrupts: list[JsonObject]
