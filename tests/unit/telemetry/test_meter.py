"""What the callbacks of a run count, for models and tools of anybody."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.tools import tool
from langgraph.errors import GraphInterrupt
from prometheus_client import REGISTRY

from freehold.telemetry.meter import Meter, model_name, tool_name, usage
from freehold.telemetry.tool_calls import counted


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def meter() -> Meter:
    return Meter(lambda error: type(error).__name__)


def config(*handlers: BaseCallbackHandler) -> Any:
    return {"callbacks": list(handlers)}


async def test_a_model_without_a_name_counts_under_its_class() -> None:
    before = value("llm_tokens_generated_total", model="FakeMessagesListChatModel")
    answer = AIMessage("hello", usage_metadata={"input_tokens": 5, "output_tokens": 7, "total_tokens": 12})
    await FakeMessagesListChatModel(responses=[answer]).ainvoke("hi", config(meter()))
    assert value("llm_tokens_generated_total", model="FakeMessagesListChatModel") - before == 7
    assert value("llm_active_requests", model="FakeMessagesListChatModel") == 0


@pytest.mark.parametrize(
    ("raised", "outcome"), [(None, "ok"), (ValueError("no"), "error"), (asyncio.CancelledError(), "cancelled"), (GraphInterrupt(), None)]
)
async def test_a_tool_counts_by_how_it_ended(raised: BaseException | None, outcome: str | None) -> None:
    name = f"tool-{uuid4().hex}"

    async def act() -> str:
        """Acts."""
        if raised:
            raise raised
        return "done"

    watching = meter()
    with suppress(ValueError, GraphInterrupt, asyncio.CancelledError):
        await tool(name)(act).ainvoke({}, config(watching))
    watching.close()
    told = {kind: value("freehold_tool_calls_total", tool=name, outcome=kind) for kind in ("ok", "error", "cancelled")}
    assert told == {kind: float(kind == outcome) for kind in told}


async def test_a_tool_that_its_wrapper_counts_is_left_to_it_and_the_tools_it_calls_are_not() -> None:
    outer, inner = f"outer-{uuid4().hex}", f"inner-{uuid4().hex}"

    async def help_out() -> str:
        """Helps."""
        return "helped"

    async def act() -> str:
        """Acts."""
        return str(await tool(inner)(help_out).ainvoke({}))

    with counted(outer, "call-1") as stopwatch:
        await tool(outer)(act).ainvoke({}, config(meter()))
        stopwatch.end("ok")
    assert value("freehold_tool_calls_total", tool=outer, outcome="ok") == 1
    assert value("freehold_tool_calls_total", tool=inner, outcome="ok") == 1


def test_names_come_from_the_request_before_the_class() -> None:
    assert model_name({"name": "ChatOpenAI"}, invocation_params={"model": "m"}, metadata={"ls_model_name": "other"}) == "m"
    assert model_name({"name": "ChatOpenAI"}, metadata={"ls_model_name": "m"}) == "m"
    assert model_name(None) == "unknown"
    assert tool_name({"name": "class"}, name="given") == "given"
    assert tool_name(None) == "unknown"


def test_usage_is_read_from_old_models_too() -> None:
    result = LLMResult(generations=[[Generation(text="x")]], llm_output={"token_usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    assert usage(result) == (2, 3)
    assert usage(LLMResult(generations=[[Generation(text="x")]])) == (0, 0)


@pytest.mark.parametrize("raised", [None, ValueError("no"), asyncio.CancelledError(), GraphInterrupt()], ids=repr)
async def test_a_tool_is_under_way_until_it_ends_however_it_ends(raised: BaseException | None) -> None:
    name = f"tool-{uuid4().hex}"
    seen: list[float] = []

    async def act() -> str:
        """Acts."""
        seen.append(value("freehold_active_tool_calls", tool=name))
        if raised:
            raise raised
        return "done"

    watching = meter()
    with suppress(ValueError, GraphInterrupt, asyncio.CancelledError):
        await tool(name)(act).ainvoke({}, config(watching))
    watching.close()
    assert seen == [1.0]
    assert value("freehold_active_tool_calls", tool=name) == 0
