"""What the wrapper does with a call, whatever the tool does."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.errors import GraphInterrupt
from prometheus_client import REGISTRY
from pydantic import BaseModel, Field

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import InvalidRequest, StorageUnavailable
from freehold.tools.base import Call, GuardedTool, check_arguments, current_call, guard

RUN, THREAD = uuid4(), uuid4()
CONFIG = {"configurable": {"thread_id": str(THREAD), "run_id": str(RUN), "freehold_organisation": "acme", "freehold_owner": "ann"}}


class Arguments(BaseModel):
    count: int = Field(description="How many.")
    unit: str = "m"


def make(function: Any, name: str = "measure", schema: Any = Arguments, **options: Any) -> BaseTool:
    return StructuredTool.from_function(coroutine=function, name=name, description="Measures.", args_schema=schema, **options)


def guarded(function: Any, **options: Any) -> GuardedTool:
    return guard(make(function, **options), timeout_seconds=0.2)


def call(arguments: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"name": "measure", "args": arguments, "id": "call_1", "type": "tool_call", **extra}


async def measure(count: int, unit: str = "m") -> str:
    return f"{count} {unit}"


async def test_a_call_is_answered_with_the_tools_text() -> None:
    answer = await guarded(measure).ainvoke(call({"count": 3}), CONFIG)
    assert isinstance(answer, ToolMessage)
    assert (answer.content, answer.tool_call_id, answer.status, answer.name) == ("3 m", "call_1", "success", "measure")


async def test_an_artifact_passes_through() -> None:
    async def find(count: int, unit: str = "m") -> tuple[str, list[int]]:
        return "found", [count]

    answer = await guarded(find, response_format="content_and_artifact").ainvoke(call({"count": 3}), CONFIG)
    assert (answer.content, answer.artifact) == ("found", [3])


async def test_the_model_sees_the_same_schema_as_without_the_wrapper() -> None:
    assert guarded(measure).tool_call_schema.model_json_schema()["properties"].keys() == {"count", "unit"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "count: field required"),
        ({"count": "many"}, "count: input should be a valid integer"),
        ({"count": 1, "size": 2}, "size: there is no such argument"),
    ],
)
async def test_wrong_arguments_are_answered_with_what_is_wrong_and_the_right_ones(arguments: dict[str, Any], problem: str) -> None:
    async def never(count: int, unit: str = "m") -> str:
        raise AssertionError("must not run")

    answer = await guarded(never).ainvoke(call(arguments), CONFIG)
    assert answer.status == "error"
    assert answer.content.startswith(f"measure was not run: {problem}")
    assert "count (integer, required), unit (string)" in answer.content


async def test_a_json_schema_is_checked_too() -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    assert "'many' is not of type 'integer'" in str(check_arguments(make(measure, schema=schema), {"count": "many"}))
    assert "no such argument" in str(check_arguments(make(measure, schema=schema), {"count": 1, "size": 2}))
    assert check_arguments(make(measure, schema=schema), {"count": 1}) is None


async def test_a_call_marked_as_refused_does_not_run() -> None:
    answer = await guarded(measure).ainvoke(call({"count": 3}, refused="the arguments are not JSON"), CONFIG)
    assert answer.status == "error"
    assert "not JSON" in answer.content


async def test_a_slow_tool_is_ended() -> None:
    async def sleep(count: int, unit: str = "m") -> str:
        await asyncio.sleep(60)
        return "late"

    answer = await guarded(sleep).ainvoke(call({"count": 1}), CONFIG)
    assert answer.status == "error"
    assert "took longer than 0.2 s" in answer.content


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidRequest("too large", hint="ask for less"), "measure failed: too large. ask for less"),
        (StorageUnavailable("the database does not answer"), "measure failed: the database does not answer"),
        (KeyError("x"), "measure failed: KeyError: 'x'. Try other arguments, or go on without it."),
    ],
)
async def test_a_failure_is_told_to_the_model(error: Exception, text: str) -> None:
    async def fail(count: int, unit: str = "m") -> str:
        raise error

    answer = await guarded(fail).ainvoke(call({"count": 1}), CONFIG)
    assert (answer.status, answer.content) == ("error", text)


async def test_an_interrupt_of_the_graph_passes() -> None:
    async def ask(count: int, unit: str = "m") -> str:
        raise GraphInterrupt

    with pytest.raises(GraphInterrupt):
        await guarded(ask).ainvoke(call({"count": 1}), CONFIG)


async def test_the_tool_knows_who_calls_and_in_which_run() -> None:
    seen: list[Call] = []

    async def look(count: int, unit: str = "m") -> str:
        seen.append(current_call())
        return "ok"

    await guarded(look).ainvoke(call({"count": 1}), CONFIG)
    await guarded(look).ainvoke({"count": 1})
    assert seen[0] == Call(Caller("acme", "ann"), THREAD, RUN, "call_1")
    assert seen[0].idempotency_key == f"{RUN}:call_1"
    assert seen[1].caller == LOCAL


async def test_ids_that_are_no_uuids_are_left_out() -> None:
    seen: list[UUID | None] = []

    async def look(count: int, unit: str = "m") -> str:
        seen.append(current_call().thread_id)
        return "ok"

    await guarded(look).ainvoke(call({"count": 1}), {"configurable": {"thread_id": "test-1"}})
    assert seen == [None]


def test_outside_a_tool_there_is_no_current_call() -> None:
    with pytest.raises(LookupError):
        current_call()


async def test_calls_are_counted_by_outcome() -> None:
    def count(outcome: str) -> float:
        return REGISTRY.get_sample_value("freehold_tool_calls_total", {"tool": "counted", "outcome": outcome}) or 0

    tool = guard(make(measure, name="counted"), timeout_seconds=1)
    await tool.ainvoke(call({"count": 1}), CONFIG)
    await tool.ainvoke(call({}), CONFIG)
    assert (count("ok"), count("invalid")) == (1, 1)
    assert REGISTRY.get_sample_value("freehold_tool_duration_seconds_count", {"tool": "counted"}) == 2
