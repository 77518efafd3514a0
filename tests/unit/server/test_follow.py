"""What the end of a run says, and which events a joining client chose. Following itself is tested with real services in tests/api."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.core.event import Event, EventId
from freehold.server.follow import Ending, pieces, requested_modes

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


def event(epoch: int, seq: int, name: str = "custom") -> Event:
    return Event(EventId(epoch, seq), name, b"{}")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        ([event(1, 3), event(1, 4)], [(False, 2)]),
        ([event(1, 4), event(1, 5)], [(True, 2)]),
        ([event(1, 3), event(1, 5), event(1, 6)], [(False, 1), (True, 2)]),
        ([event(1, 3), event(2, 1), event(2, 3)], [(False, 2), (True, 1)]),
        ([event(1, 3), event(2, 2)], [(False, 1), (True, 1)]),
        ([event(1, 3), event(1, 9, "gap"), event(1, 10)], [(False, 3)]),
        ([event(1, 9, "gap"), event(1, 12)], [(False, 1), (True, 1)]),
    ],
)
def test_each_hole_is_found_but_those_the_writer_tells_of(found: list[Event], expected: list[tuple[bool, int]]) -> None:
    parts = pieces(EventId(1, 2), found)
    assert [(torn, len(events)) for torn, events in parts] == expected
    assert [event for _, events in parts for event in events] == found
