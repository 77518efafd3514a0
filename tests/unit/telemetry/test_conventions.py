"""What spans say, with content and without."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from freehold.core.run import Run, RunRequest
from freehold.telemetry import conventions


def test_a_run_is_found_by_its_thread_in_either_convention() -> None:
    now = datetime.now(UTC)
    run = Run(uuid4(), uuid4(), uuid4(), "acme", "ann", "running", RunRequest(), {}, "enqueue", 2, 3, now, now)
    ids = conventions.run_ids(run)
    assert ids["gen_ai.conversation.id"] == ids["session.id"] == ids["freehold.thread_id"] == str(run.thread_id)
    agent = conventions.agent(run, "echo")
    assert (agent["freehold.epoch"], agent["freehold.attempt"], agent["gen_ai.agent.name"]) == (2, 3, "echo")
    assert "acme" not in str(agent) and "ann" not in str({**agent, **ids}.values())


def test_limits_of_a_call_are_told_where_they_are_numbers() -> None:
    asked = {"max_completion_tokens": 100, "temperature": 0, "top_p": None, "stop": "secret"}
    attributes = conventions.chat("m", provider="openai", asked=asked)
    assert (attributes["gen_ai.request.max_tokens"], attributes["gen_ai.request.temperature"]) == (100, 0)
    assert "gen_ai.request.top_p" not in attributes
    assert "secret" not in str(attributes)


def test_a_conversation_is_told_in_both_conventions() -> None:
    call = {"name": "calculate", "args": {"expression": "1"}, "id": "call_1", "type": "tool_call"}
    messages = [HumanMessage("what is 1"), AIMessage("", tool_calls=[call]), ToolMessage("1", tool_call_id="call_1")]
    attributes = conventions.content_messages("input", messages)
    assert json.loads(str(attributes["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "what is 1"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "call_1", "name": "calculate", "arguments": {"expression": "1"}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "1"}]},
    ]
    assert attributes["llm.input_messages.0.message.role"] == "user"
    assert attributes["llm.input_messages.1.message.tool_calls.0.tool_call.function.name"] == "calculate"
    assert attributes["llm.input_messages.2.message.content"] == "1"


def test_content_has_an_end() -> None:
    long = "x" * 100_000
    for made in (
        conventions.content_value("input", long),
        conventions.content_value("input", {"a": long}),
        conventions.content_messages("output", [AIMessage(long)]),
        conventions.content_result(long),
        conventions.content_arguments({"a": long}),
    ):
        assert max(len(str(value)) for value in made.values()) <= conventions.KEEP_CHARACTERS


def test_what_an_answer_says_about_itself_has_none_of_its_text() -> None:
    answer = AIMessage("secret", id="run-1", response_metadata={"model_name": "m-2030", "finish_reason": "stop", "id": "chatcmpl-1"})
    assert conventions.chat_answer(answer, 10, 2) == {
        "gen_ai.response.model": "m-2030",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2,
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 2,
        "llm.token_count.total": 12,
    }
    assert conventions.chat_answer(None, 0, 0) == {}


def test_lists_of_spans_show_what_was_said_last_or_the_tools_that_were_asked_for() -> None:
    asked = conventions.content_messages("input", [HumanMessage("first"), HumanMessage("and now?")])
    assert asked["input.value"] == "and now?"
    call = AIMessage("", tool_calls=[{"name": "calculate", "args": {"expression": "1+1"}, "id": "c"}])
    answered = conventions.content_messages("output", [call])
    assert json.loads(str(answered["output.value"])) == [{"name": "calculate", "arguments": {"expression": "1+1"}}]
    assert "output.value" not in conventions.content_messages("output", [])
