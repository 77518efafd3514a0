"""What a model is shown of a conversation that is longer than it can read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from freehold.graphs.agents.window import estimate_tokens, fit_window


def turn(number: int, *, size: int = 10, calls: int = 0) -> list[AnyMessage]:
    messages: list[AnyMessage] = [HumanMessage(f"question {number} " + "x" * size)]
    for call in range(calls):
        call_id = f"{number}-{call}"
        messages.append(AIMessage("", tool_calls=[{"name": "look", "args": {"n": call}, "id": call_id}]))
        messages.append(ToolMessage("y" * size, tool_call_id=call_id))
    return [*messages, AIMessage(f"answer {number}")]


def total(messages: list[AnyMessage]) -> int:
    return sum(map(estimate_tokens, messages))


def test_a_short_conversation_is_shown_whole() -> None:
    messages = turn(1) + turn(2)
    assert fit_window(messages, 10_000) == messages


def test_the_oldest_turns_go_first_and_whole() -> None:
    messages = turn(1, calls=1) + turn(2, calls=1) + turn(3)
    fitting = fit_window(messages, total(turn(2, calls=1) + turn(3)) + 5)
    assert fitting == turn(2, calls=1) + turn(3)


def test_a_turn_too_large_keeps_the_question_and_shortens_tool_answers() -> None:
    messages = turn(1) + turn(2, size=40, calls=1)[:1] + turn(2, size=20_000, calls=1)[1:3]
    fitting = fit_window(messages, 1000)
    assert fitting[0].text.startswith("question 2")
    assert [message.type for message in fitting] == ["human", "ai", "tool"]
    assert fitting[2].text.endswith("(cut: too long for the model to read at once)")
    assert total(fitting) <= 1000


def test_the_oldest_tool_exchanges_of_a_huge_turn_go_when_shortening_is_not_enough() -> None:
    messages = turn(1, size=2000, calls=20)[:-1]
    messages[0] = HumanMessage("question")
    fitting = fit_window(messages, 800)
    assert fitting[0] == messages[0]
    assert fitting[-1].type == "tool"
    assert total(fitting) <= 800


def test_nothing_is_made_of_nothing() -> None:
    assert fit_window([], 100) == []


def test_characters_of_other_scripts_count_for_more() -> None:
    assert estimate_tokens(HumanMessage("語" * 100)) > 2 * estimate_tokens(HumanMessage("a" * 100))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3)), min_size=1, max_size=6), st.integers(200, 4000))
def test_no_tool_answer_is_shown_without_its_call_and_the_last_question_always_is(turns: list[tuple[int, int]], budget: int) -> None:
    messages = [message for number, (size, calls) in enumerate(turns) for message in turn(number, size=size, calls=calls)]
    fitting = fit_window(messages, budget)
    called = {call["id"] for message in fitting if isinstance(message, AIMessage) for call in message.tool_calls}
    answered = {message.tool_call_id for message in fitting if isinstance(message, ToolMessage)}
    assert called == answered
    assert fitting[0].type == "human"
    assert any(message.text.startswith(f"question {len(turns) - 1} ") for message in fitting)
