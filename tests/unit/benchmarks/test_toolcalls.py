"""The leaderboard's rules for comparing a call with the accepted ones, and the statistics."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.toolcalls.run import Question, as_schema, is_right, wilson
from langchain_core.messages import AIMessage

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "share": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "exact": {"type": "boolean"},
    },
    "required": ["city"],
}
ACCEPTED = {"city": ["New York, NY"], "days": [3, ""], "share": [0.5, 1.0, ""], "tags": [["a", "b"], ""], "exact": ["", True]}


def right(arguments: dict[str, Any], name: str = "weather_get") -> bool:
    tools = [{"type": "function", "function": {"name": "weather_get", "parameters": SCHEMA}}]
    question = Question("1", "simple", [], tools, [{"weather_get": ACCEPTED}])
    return is_right(question, AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "new york ny"},
        {"city": "New York, NY", "days": 3},
        {"city": "New York, NY", "share": 1},
        {"city": "New York, NY", "tags": ["A", "b"]},
        {"city": "New York, NY", "exact": True},
    ],
)
def test_an_accepted_call_is_right(arguments: dict[str, Any]) -> None:
    assert right(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"days": 3},
        {"city": "Boston"},
        {"city": "New York, NY", "days": 4},
        {"city": "New York, NY", "days": "3"},
        {"city": "New York, NY", "days": True},
        {"city": "New York, NY", "share": 0.6},
        {"city": "New York, NY", "tags": ["b", "a"]},
        {"city": "New York, NY", "exact": False},
        {"city": "New York, NY", "unit": "C"},
    ],
)
def test_any_other_call_is_wrong(arguments: dict[str, Any]) -> None:
    assert not right(arguments)


def test_another_tool_is_wrong() -> None:
    assert not right({"city": "New York, NY"}, name="weather_set")


def test_where_no_tool_fits_only_an_answer_in_words_is_right() -> None:
    question = Question("1", "irrelevance", [], [], [])
    assert is_right(question, AIMessage("I cannot know that."))
    assert not is_right(question, AIMessage("", tool_calls=[{"name": "x", "args": {}, "id": "1"}]))


def test_types_of_the_data_set_become_json_schema() -> None:
    assert as_schema({"type": "dict", "properties": {"type": {"type": "float"}, "x": {"type": "tuple", "items": {"type": "any"}}}}) == {
        "type": "object",
        "properties": {"type": {"type": "number"}, "x": {"type": "array", "items": {"type": "string"}}},
    }


def test_the_interval_is_wilsons() -> None:
    assert wilson(0, 60) == [0.0, 0.06]
    assert wilson(60, 60) == [0.94, 1.0]
    assert wilson(30, 60) == [0.377, 0.623]
