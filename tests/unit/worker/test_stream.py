"""From parts of a graph's stream to events."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langgraph.types import Interrupt

from freehold.worker.stream import Translator, values_on_wire


def events(modes: tuple[str, ...], mode: str, part: Any, namespace: tuple[str, ...] = ()) -> list[tuple[str, Any, bool]]:
    return [(event.name, json.loads(event.data), event.delta) for event in Translator(modes).events(namespace, mode, part)]


def test_the_graph_is_always_streamed_with_values_because_the_last_ones_are_the_result() -> None:
    assert Translator(("updates",)).graph_modes == ["updates", "values"]
    assert Translator(("messages", "messages-tuple")).graph_modes == ["messages", "values"]


def test_values_nobody_asked_for_are_not_sent() -> None:
    assert events(("updates",), "values", {"a": 1}) == []


def test_events_of_subgraphs_carry_their_namespace() -> None:
    assert events(("updates",), "updates", {"node": {"a": 1}}, ("outer:1", "inner:2")) == [
        ("updates|outer:1|inner:2", {"node": {"a": 1}}, False)
    ]


def test_interrupts_have_value_and_id_and_nothing_else() -> None:
    part = {"a": 1, "__interrupt__": (Interrupt(value="ok?", id="i1"),)}
    assert values_on_wire(part) == {"a": 1, "__interrupt__": [{"value": "ok?", "id": "i1"}]}
    assert events(("updates",), "updates", {"__interrupt__": part["__interrupt__"]})[0][1] == {
        "__interrupt__": [{"value": "ok?", "id": "i1"}]
    }


def test_token_pieces_may_wait_for_a_batch_and_whole_messages_may_not() -> None:
    metadata = {"langgraph_node": "model"}
    ((name, data, delta),) = events(("messages-tuple",), "messages", (AIMessageChunk("Hel", id="m"), metadata))
    assert (name, data[0]["content"], data[1], delta) == ("messages", "Hel", metadata, True)
    ((_, _, delta),) = events(("messages-tuple",), "messages", (AIMessage("Hello", id="m"), metadata))
    assert not delta


def test_mode_messages_accumulates_pieces_and_tells_the_metadata_once() -> None:
    translator = Translator(("messages",))
    told = [
        (event.name, json.loads(event.data))
        for text in ("Hel", "lo")
        for event in translator.events((), "messages", (AIMessageChunk(text, id="m"), {"langgraph_node": "model"}))
    ]
    assert [name for name, _ in told] == ["messages/metadata", "messages/partial", "messages/partial"]
    assert told[0][1] == {"m": {"metadata": {"langgraph_node": "model"}}}
    assert [data[0]["content"] for name, data in told[1:]] == ["Hel", "Hello"]
    assert told[1][1][0]["type"] == "ai"


def test_a_whole_message_in_mode_messages_is_complete() -> None:
    names = [name for name, _, _ in events(("messages",), "messages", (AIMessage("Hello", id="m"), {}))]
    assert names == ["messages/metadata", "messages/complete"]
