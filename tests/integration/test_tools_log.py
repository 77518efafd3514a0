"""The log of tool calls on a real Postgres, and without one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langchain_core.tools import StructuredTool

from freehold.core.caller import Caller
from freehold.storage.pool import create_pool
from freehold.storage.tool_calls import ToolCallLog, of_run
from freehold.tools import calculate
from freehold.tools.base import guard

ANN = Caller("acme", "ann")


def config(run_id: object) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(uuid4()), "run_id": str(run_id), "freehold_organisation": "acme", "freehold_owner": "ann"}}


def call(arguments: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"name": "calculate", "args": arguments, "id": "call_1", "type": "tool_call", **extra}


async def test_each_call_leaves_a_row_that_only_its_owner_sees(database_url: str) -> None:
    run = uuid4()
    async with create_pool(database_url, max_size=2) as pool:
        log = ToolCallLog(pool)
        tool = guard(calculate.tool(), timeout_seconds=5, call_log=log)
        await tool.ainvoke(call({"expression": "42 * 17"}, repair="json block; calculator → calculate"), config(run))
        await tool.ainvoke(call({"expression": "1 / 0"}), config(run))
        await tool.ainvoke(call({}), config(run))
        await log.settle(run)
        rows = await of_run(pool, ANN, run)
        assert sorted((row["outcome"], row["repair"]) for row in rows) == [
            ("error", None),
            ("invalid", None),
            ("ok", "json block; calculator → calculate"),
        ]
        assert {"expression": "42 * 17"} in [row["arguments"] for row in rows]
        assert all(row["duration_ms"] >= 0 for row in rows)
        assert await of_run(pool, Caller("acme", "bob"), run) == []
        assert await of_run(pool, Caller("other", "ann"), run) == []


async def test_arguments_postgres_cannot_hold_are_stored_without_what_it_refuses(database_url: str) -> None:
    run = uuid4()
    async with create_pool(database_url, max_size=2) as pool:
        log = ToolCallLog(pool)

        async def echo(**_: Any) -> str:
            return "ok"

        schema = {"type": "object", "properties": {"text": {}, "number": {}}}
        tool = StructuredTool.from_function(coroutine=echo, name="echo", description="Echoes.", args_schema=schema)
        arguments = {"text": "a\x00b\ud800" + "x" * 9000, "number": float("nan")}
        await guard(tool, timeout_seconds=5, call_log=log).ainvoke(call(arguments), config(run))
        await log.settle(run)
        (row,) = await of_run(pool, ANN, run)
        assert row["arguments"]["text"].startswith("ab?")
        assert len(row["arguments"]["text"]) < 5000
        assert row["arguments"]["number"] == "nan"


async def test_a_lost_database_costs_the_row_and_nothing_else(database_url: str) -> None:
    pool = create_pool(database_url, max_size=2)
    await pool.open()
    log = ToolCallLog(pool)
    await pool.close()
    run = uuid4()
    answer = await guard(calculate.tool(), timeout_seconds=5, call_log=log).ainvoke(call({"expression": "6 * 7"}), config(run))
    await log.settle(run)
    assert answer.content == "6 * 7 = 42"
