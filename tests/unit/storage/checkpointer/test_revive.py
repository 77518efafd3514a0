"""Messages read the short way are what the serialiser would have made of the same bytes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from freehold.storage.checkpointer.revive import revived

SERDE = JsonPlusSerializer(pickle_fallback=False)


class Own(HumanMessage):
    """A user's own kind."""


def stored(message: BaseMessage) -> bytes:
    kind, data = SERDE.dumps_typed(message)
    assert kind == "msgpack"
    return data


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("hello", id="1", name="anna"),
        HumanMessage([{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:"}}], id="2"),
        SystemMessage("be kind"),
        AIMessage(
            "",
            id="3",
            tool_calls=[{"name": "calculate", "args": {"expression": "1 + 1", "exact": True, "limit": 1.5}, "id": "c"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"model": "m", "logprobs": None},
            additional_kwargs={"reasoning_content": "so"},
        ),
        AIMessage("broken", invalid_tool_calls=[{"name": "f", "args": "{", "id": "d", "error": "no", "type": "invalid_tool_call"}]),
        ToolMessage("2", tool_call_id="c", name="calculate", artifact={"rows": [1, 2]}, status="error"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_the_same_in_all_its_parts(message: BaseMessage) -> None:
    data = stored(message)
    short, long = revived(data), SERDE.loads_typed(("msgpack", data))
    assert short is not None
    assert type(short) is type(long) and short == long == message
    for part in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        assert getattr(short, part) == getattr(long, part)
    assert repr(short) == repr(long)
    short.name = "changed"
    assert short.model_copy().name == "changed"
    assert revived(data) == message


def without(field: str) -> bytes:
    """As a version that did not have the field yet would have stored it."""
    message = HumanMessage("hello")
    object.__setattr__(message, "__dict__", {key: value for key, value in message.__dict__.items() if key != field})
    return stored(message)


@pytest.mark.parametrize(
    "data",
    [
        stored(RemoveMessage("1")),
        stored(Own("hello")),
        stored(HumanMessage("hello", more="than it has")),
        stored(HumanMessage("hello", additional_kwargs={"at": UUID(int=1)})),
        without("name"),
        SERDE.dumps_typed({"role": "user", "content": "hello"})[1],
        SERDE.dumps_typed([HumanMessage("hello")])[1],
        SERDE.dumps_typed("text")[1],
        SERDE.dumps_typed(UUID(int=1))[1],
        b"",
        b"\xc1",
    ],
)
def test_whatever_looks_different_is_left_to_the_serialiser(data: bytes) -> None:
    assert revived(data) is None


def test_a_message_is_stored_as_it_was_when_this_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else reading is only slow, and this says so."""
    everything: list[Any] = [HumanMessage("a"), AIMessage("b"), SystemMessage("c"), ToolMessage("d", tool_call_id="1")]
    assert [revived(stored(message)) for message in everything] == everything
