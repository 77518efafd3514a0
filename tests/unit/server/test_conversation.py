"""Reading the answer out of what a run left."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.core.errors import RunFailed, TimedOut
from freehold.server.conversation import read_answer, text_of
from freehold.server.follow import Ending

CALL = {"id": "c1", "name": "calculate", "args": {"expression": "1+1"}, "type": "tool_call"}


def human(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "human", "content": text, **more}


def ai(text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "ai", "content": text, **more}


def ending(*messages: dict[str, Any]) -> Ending:
    return Ending("success", {"messages": list(messages)})


def test_the_answer_is_the_last_thing_said_after_the_question() -> None:
    answer = read_answer(ending(human("old"), ai("old answer"), human("new", id="q"), ai("thinking"), ai("new answer")), frozenset({"q"}))
    assert answer.text == "new answer"


def test_an_earlier_answer_is_not_taken_for_this_turns() -> None:
    assert read_answer(ending(ai("old answer"), human("new", id="q")), frozenset({"q"})).text == ""


def test_tool_calls_come_with_their_results() -> None:
    result = {"type": "tool", "tool_call_id": "c1", "name": "calculate", "content": "2", "status": "success"}
    answer = read_answer(ending(human("q", id="q"), ai("", tool_calls=[CALL]), result, ai("It is 2.")), frozenset({"q"}))
    assert answer.tool_calls == [{"id": "c1", "name": "calculate", "args": {"expression": "1+1"}, "result": "2", "status": "success"}]


def test_a_call_without_a_result_is_pending() -> None:
    answer = read_answer(ending(human("q", id="q"), ai("", tool_calls=[CALL])), frozenset({"q"}))
    assert (answer.tool_calls[0]["result"], answer.tool_calls[0]["status"]) == (None, "pending")


def test_usage_is_summed_over_the_turn_only() -> None:
    def usage(count: int) -> dict[str, int]:
        return {"input_tokens": count, "output_tokens": 1, "total_tokens": count + 1}

    messages = [
        ai("before", usage_metadata=usage(100)),
        human("q", id="q"),
        ai("a", usage_metadata=usage(3)),
        ai("b", usage_metadata=usage(5)),
    ]
    assert read_answer(ending(*messages), frozenset({"q"})).usage == {"input_tokens": 8, "output_tokens": 2, "total_tokens": 10}


def test_no_usage_reported_is_none() -> None:
    assert read_answer(ending(human("q", id="q"), ai("a")), frozenset({"q"})).usage is None


def test_sources_and_an_answer_cut_short_are_told() -> None:
    sources = [{"source": "handbook.md", "page": None}]
    last = ai("cut", additional_kwargs={"sources": sources}, response_metadata={"finish_reason": "length"})
    answer = read_answer(ending(human("q", id="q"), last), frozenset({"q"}))
    assert (answer.sources, answer.finish_reason) == (sources, "length")


@pytest.mark.parametrize("values", [None, {}, {"messages": None}, [1], "text"])
def test_a_state_without_messages_is_an_empty_answer(values: Any) -> None:
    assert read_answer(Ending("success", values)).text == ""


def test_a_failed_run_raises_what_it_said() -> None:
    with pytest.raises(RunFailed, match="ValueError: on purpose"):
        read_answer(Ending("error", error={"error": "ValueError", "message": "on purpose"}))
    with pytest.raises(TimedOut, match="too long"):
        read_answer(Ending("timeout", error={"error": "TimeoutError", "message": "too long"}))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, "b", {"type": "reasoning", "reasoning": "hidden"}, {"type": "text", "text": "c"}], "abc"),
        (None, ""),
        ([], ""),
    ],
)
def test_text_is_taken_from_strings_and_parts(content: Any, text: str) -> None:
    assert text_of({"content": content}) == text
