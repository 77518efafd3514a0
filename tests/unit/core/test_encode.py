from __future__ import annotations

import json
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from freehold.core.encode import to_json


class Colour(Enum):
    RED = "red"


class Person(BaseModel):
    name: str


@dataclass
class Point:
    x: int
    _hidden: int = 3


Pair = namedtuple("Pair", "left right")


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Person(name="Ada"), {"name": "Ada"}),
        (Point(1), {"x": 1}),
        (Pair(1, 2), {"left": 1, "right": 2}),
        ({1: "a"}, {"1": "a"}),
        ({"s": {3}}, {"s": [3]}),
        ((1, deque([2])), [1, [2]]),
        (OrderedDict(a=1), {"a": 1}),
        (Decimal("1.10"), "1.10"),
        (Path("/a/b"), "/a/b"),
        (b"caf\xc3\xa9\xff", "café\\xff"),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),  # noqa: UP017 - the value, not the alias, is tested
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (numpy.array([1.5, 2.5]), [1.5, 2.5]),
        (ValueError("no"), {"error": "ValueError", "message": "no"}),
        (Opaque(), "<opaque>"),
        (float("nan"), None),
        (2**70, 2**70),
        ("a\x00b", "ab"),
        ("back\\\x00slash", "back\\slash"),
        ("the text \\u0000", "the text \\u0000"),
    ],
    ids=repr,
)
def test_what_users_keep_in_their_state_becomes_json(value: object, expected: object) -> None:
    assert json.loads(to_json(value)) == expected


def test_a_message_keeps_its_fields() -> None:
    encoded = json.loads(to_json({"messages": [AIMessage("hi", id="1")]}))
    assert encoded["messages"][0] | {"content": "hi", "type": "ai", "id": "1"} == encoded["messages"][0]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return {_without_nul(key): _without_nul(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(JSON)
def test_json_reads_back_but_for_nul(value: object) -> None:
    text = to_json(value)
    assert json.loads(text) == _without_nul(value)
