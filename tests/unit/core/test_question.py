"""Which answers a question takes, whatever shape it has, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.core.question import Question, question, questions

HITL: dict[str, Any] = {
    "action_requests": [{"name": "mail", "args": {}}, {"name": "pay", "args": {}}],
    "review_configs": [{"action_name": "mail", "allowed_decisions": ["approve", "edit", "respond"]}],
}
INBOX: dict[str, Any] = {"action_request": {"action": "mail", "args": {}}, "config": {"allow_accept": True, "allow_edit": True}}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def asked(value: Any, **more: Any) -> Question:
    return question({"id": "q", "value": value, **more})


@pytest.mark.parametrize(
    ("value", "answer", "complaint"),
    [
        (HITL, {"decisions": [{"type": "approve"}, {"type": "reject"}]}, None),
        (HITL, {"decisions": [{"type": "respond", "message": "hi"}, {"type": "reject", "message": "no"}]}, None),
        (HITL, {"decisions": [{"type": "reject"}, {"type": "reject"}]}, "decisions.0.type: 'reject' is not one of"),
        (HITL, {"decisions": [{"type": "respond"}, {"type": "approve"}]}, "decisions.0: 'message' is a required property"),
        (HITL, {"decisions": [{"type": "edit"}, {"type": "approve"}]}, "decisions.0: 'edited_action' is a required property"),
        (HITL, {"decisions": [{"type": "approve"}]}, "decisions: [{'type': 'approve'}] is too short"),
        (HITL, "yes", "'yes' is not of type 'object'"),
        ([INBOX], [{"type": "accept", "args": None}], None),
        ([INBOX], [{"type": "edit", "args": {"action": "mail", "args": {}}}], None),
        ([INBOX], [{"type": "ignore"}], "0.type: 'ignore' is not one of ['accept', 'edit']"),
        ([INBOX], [], "[] should be non-empty"),
        (INBOX, {"type": "accept"}, None),
        (INBOX, [{"type": "accept"}], None),
        ({"response_schema": {"enum": [1, 2]}}, 3, "3 is not one of [1, 2]"),
        ({"response_schema": {"enum": [1, 2]}}, 2, None),
        ({"question": "?"}, {"any": "thing"}, None),
        ("?", None, None),
    ],
)
def test_answers_are_checked_against_what_the_question_says(value: Any, answer: Any, complaint: str | None) -> None:
    wrong = asked(value).wrong_with(answer)
    assert (wrong or "").startswith(complaint) if complaint else wrong is None


def test_a_declared_schema_goes_before_what_the_value_says() -> None:
    assert asked(HITL, response_schema={"type": "integer"}).wrong_with(3) is None
    assert asked(HITL, response_schema={"type": "integer"}).wrong_with("x") == "'x' is not of type 'integer'"


@pytest.mark.parametrize("schema", [{"type": "bogus"}, {"$ref": "http://127.0.0.1:9/x"}, {"$ref": "#"}, {"pattern": "("}, {"$ref": "#/x"}])
def test_a_schema_that_is_none_stops_nobody_and_is_never_fetched(schema: dict[str, Any]) -> None:
    assert asked("?", response_schema=schema).wrong_with("x") is None


@pytest.mark.parametrize(
    ("given_seconds", "seconds"), [(60, 60.0), (0.5, 0.5), (0, None), (-1, None), (True, None), ("60", None), (1e12, None), (None, None)]
)
def test_only_a_number_of_seconds_makes_a_question_expire(given_seconds: Any, seconds: float | None) -> None:
    found = asked({"expires_in": given_seconds})
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert found.expires_in == seconds
    assert found.expires_at(moment) == (moment + timedelta(seconds=seconds) if seconds else None)
    assert not found.has_default
    assert asked({"expires_in": 1, "on_expiry": None}).has_default


@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.fixed_dictionaries({"id": st.text(), "value": anything}), max_size=2), max_size=2),
    anything,
)
def test_whatever_a_graph_asks_can_be_listed_and_any_answer_looked_at(interrupts: dict[str, Any], answer: Any) -> None:
    found = questions(interrupts)
    assert len(found) == sum(len(items) for items in interrupts.values())
    for item in found:
        assert item.wrong_with(answer) is None or isinstance(item.wrong_with(answer), str)
