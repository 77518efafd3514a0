"""One turn of talk with an agent: what it says while it works, and its answer at the end.

Plain chat and the OpenAI endpoint are two ways to write this down; both ask a graph that keeps `messages`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from freehold.core.errors import RunFailed, TimedOut
from freehold.core.event import Event
from freehold.core.run import Run
from freehold.server.follow import Ending, RunFollower
from freehold.server.parts import ServerParts

Message = dict[str, Any]

#: What to stream for a turn: tokens, and the messages each step added.
TURN_MODES = ("messages-tuple", "updates")

_AI = frozenset({"ai", "AIMessageChunk"})


@dataclass(frozen=True)
class Token:
    """A piece of what the agent says."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The agent calls a tool."""

    id: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """A tool answered; `status` is "success" or "error"."""

    id: str
    name: str
    content: str
    status: str


@dataclass(frozen=True)
class Restart:
    """The run goes on elsewhere after a crash: forget the tokens since the last tool result or the beginning."""

    attempt: int


Said = Token | ToolCall | ToolResult | Restart


@dataclass(frozen=True)
class Answer:
    """What a turn came to. `usage` sums the model calls: `{"input_tokens", "output_tokens", "total_tokens"}`."""

    text: str
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    usage: dict[str, int] | None = None
    finish_reason: str = "stop"
    interrupts: tuple[dict[str, Any], ...] = ()


def with_ids(messages: Sequence[Message]) -> list[Message]:
    """Messages with ids of ours, so that what the agent adds can be told from what it was given."""
    return [{**message, "id": str(uuid4())} for message in messages]


class Turn:
    """Follows the run of one turn. `given` are the input messages, made by `with_ids`."""

    def __init__(self, parts: ServerParts, run: Run, given: Sequence[Message]) -> None:
        self.run = run
        self._follower = RunFollower(parts, run)
        self._given = frozenset(message["id"] for message in given)
        self._told: set[str] = set()

    async def said(self) -> AsyncGenerator[list[Said], None]:
        """What the agent says, as it comes; an empty list every second or two of silence."""
        async with aclosing(self._follower.batches()) as batches:
            async for batch in batches:
                yield [said for event in batch for said in self._from_event(event)]

    def answer(self) -> Answer:
        """The answer, once `said` has ended.

        Raises:
            RunFailed: the run ended in error.
            TimedOut: it took longer than runs may.
        """
        return read_answer(self.ending(), self._given)

    def ending(self) -> Ending:
        """How the run ended, once `said` has ended."""
        assert self._follower.ending is not None
        return self._follower.ending

    def _from_event(self, event: Event) -> Iterator[Said]:
        if event.name == "metadata":
            attempt = orjson.loads(event.data).get("attempt", 1)
            if attempt > 1:
                yield Restart(attempt)
        elif event.name == "messages":
            message = orjson.loads(event.data)[0]
            if message.get("type") in _AI and (text := text_of(message)):
                yield Token(text)
        elif event.name == "updates":
            for message in _messages_in(orjson.loads(event.data)):
                yield from self._from_message(message)

    def _from_message(self, message: Message) -> Iterator[Said]:
        if message.get("type") in _AI:
            for call in message.get("tool_calls") or ():
                if self._is_new(f"call:{call['id']}"):
                    yield ToolCall(call["id"] or "", call["name"], call["args"])
        elif message.get("type") == "tool" and self._is_new(f"result:{message.get('tool_call_id')}"):
            yield ToolResult(*_result_of(message))

    def _is_new(self, what: str) -> bool:
        if what in self._told:
            return False
        self._told.add(what)
        return True


def read_answer(ending: Ending, given: frozenset[str] = frozenset()) -> Answer:
    """The answer in the values a run left: what was added after the last message it was given."""
    if ending.error:
        failure = TimedOut if ending.status == "timeout" else RunFailed
        raise failure(f"{ending.error.get('error', 'error')}: {ending.error.get('message', '')}")
    found = ending.values.get("messages") if isinstance(ending.values, Mapping) else None
    messages: list[Message] = [message for message in found or () if isinstance(message, dict)]
    last_given = max((place for place, message in enumerate(messages) if message.get("id") in given), default=-1)
    added = messages[last_given + 1 :]
    spoken = [message for message in added if message.get("type") in _AI]
    last = spoken[-1] if spoken else {}
    return Answer(
        text=text_of(last),
        tool_calls=_calls_with_results(added),
        sources=list((last.get("additional_kwargs") or {}).get("sources") or ()),
        usage=_total_usage(spoken),
        finish_reason="length" if (last.get("response_metadata") or {}).get("finish_reason") == "length" else "stop",
        interrupts=ending.interrupts,
    )


def text_of(message: Message) -> str:
    """The text of a message, whose content may be a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = (part if isinstance(part, str) else part.get("text", "") for part in content or () if isinstance(part, str | dict))
    return "".join(part for part in parts if isinstance(part, str))


def _messages_in(update: Any) -> Iterator[Message]:
    """`{"node": {"messages": [...]}}` -> the messages; a node may also give a list of updates, or one message."""
    for written in update.values() if isinstance(update, dict) else ():
        for part in written if isinstance(written, list) else [written]:
            messages = part.get("messages") if isinstance(part, dict) else None
            yield from (message for message in (messages if isinstance(messages, list) else [messages]) if isinstance(message, dict))


def _result_of(message: Message) -> tuple[str, str, str, str]:
    return message.get("tool_call_id") or "", message.get("name") or "", text_of(message), message.get("status") or "success"


def _calls_with_results(added: Sequence[Message]) -> list[dict[str, Any]]:
    results = {found[0]: found for found in (_result_of(message) for message in added if message.get("type") == "tool")}
    calls = [call for message in added if message.get("type") in _AI for call in message.get("tool_calls") or ()]
    answered = [(call, results.get(call["id"] or "")) for call in calls]
    return [
        {
            "id": call["id"],
            "name": call["name"],
            "args": call["args"],
            "result": found and found[2],
            "status": found[3] if found else "pending",
        }
        for call, found in answered
    ]


def _total_usage(spoken: Sequence[Message]) -> dict[str, int] | None:
    reported = [usage for message in spoken if (usage := message.get("usage_metadata"))]
    if not reported:
        return None
    return {name: sum(int(usage.get(name) or 0) for usage in reported) for name in ("input_tokens", "output_tokens", "total_tokens")}
