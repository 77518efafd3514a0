"""What the end of a run says, and which events a joining client chose. Following itself is tested with real services in tests/api."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.core.event import Event, EventId
from freehold.server.follow import Ending, requested_modes

INTERRUPT = {"value": "Which?", "id": "i1"}


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        (b'{"status":"success","error":null,"interrupts":[],"values":{"a":1}}', {"a": 1}),
        (b'{"status":"success","error":null,"interrupts":[],"values":null}', None),
        (b'{"status":"success","error":null,"interrupts":[],"values":[1]}', [1]),
        (
            b'{"status":"success","error":null,"interrupts":[{"value":"Which?","id":"i1"}],"values":{"a":1}}',
            {"a": 1, "__interrupt__": (INTERRUPT,)},
        ),
        (
            b'{"status":"error","error":{"error":"E","message":"m"},"interrupts":[],"values":{"a":1}}',
            {"__error__": {"error": "E", "message": "m"}},
        ),
    ],
)
def test_the_end_record_becomes_the_answer_of_wait(record: bytes, answer: Any) -> None:
    assert Ending.parse(record).answer() == answer


@pytest.mark.parametrize(
    ("name", "modes", "wanted"),
    [
        ("values", {"values"}, True),
        ("values|inner:1", {"values"}, True),
        ("updates", {"values"}, False),
        ("messages", {"messages-tuple"}, True),
        ("messages", {"messages"}, False),
        ("messages/partial", {"messages"}, True),
        ("messages/partial|inner:1", {"messages"}, True),
        ("messages/complete", {"messages-tuple"}, False),
        ("metadata", {"custom"}, True),
        ("error", {"custom"}, True),
        ("gap", {"custom"}, True),
    ],
)
def test_modes_choose_events_and_what_concerns_the_run_always_comes(name: str, modes: set[str], wanted: bool) -> None:
    assert requested_modes(Event(EventId(1, 1), name, b"{}"), frozenset(modes)) is wanted
