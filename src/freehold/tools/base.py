"""The one wrapper every tool goes through, whoever wrote it.

A call is checked against the tool's schema, timed, ended when it takes too long, counted and logged; whatever goes wrong
is answered to the model as text that says what to do next, because a model can act on a sentence and not on an exception.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import jsonschema  # type: ignore[import-untyped]  # ships no types
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from pydantic import BaseModel, ConfigDict, ValidationError

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import FreeholdError
from freehold.storage.tool_calls import Outcome, ToolCallLog, ToolCallRecord
from freehold.telemetry import logs
from freehold.telemetry.conventions import content_arguments, content_result
from freehold.telemetry.tool_calls import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """Who makes a tool call and in which run; read from `config["configurable"]` of the run."""

    caller: Caller
    thread_id: UUID | None
    run_id: UUID | None
    call_id: str

    @property
    def idempotency_key(self) -> str:
        """The same when a crashed run is executed again: a tool that changes the world hands it to what it calls."""
        return f"{self.run_id}:{self.call_id}"


_current: ContextVar[Call] = ContextVar("freehold_tool_call")


def current_call() -> Call:
    """The call being executed; for tools.

    Raises:
        LookupError: no guarded tool is running.
    """
    return _current.get()


def caller_of(config: RunnableConfig | None) -> Caller:
    """The caller a run acts for: `freehold_organisation` and `freehold_owner`; the local user where there are none."""
    configurable = (config or {}).get("configurable") or {}
    return Caller(configurable.get("freehold_organisation") or LOCAL.organisation, configurable.get("freehold_owner") or LOCAL.owner)


def run_of(config: RunnableConfig | None) -> UUID | None:
    """The run's id, or None outside a run of ours."""
    return _uuid(((config or {}).get("configurable") or {}).get("run_id"))


@dataclass(frozen=True)
class _Result:
    outcome: Outcome
    message: Any  # a ToolMessage, or a Command where the tool gave one
    error: str | None = None


class GuardedTool(BaseTool):
    """A tool of any origin behind the wrapper; make one with `guard`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: BaseTool
    timeout_seconds: float
    call_log: ToolCallLog | None = None

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("agents here are asynchronous: use ainvoke")

    async def ainvoke(self, input: str | dict[str, Any] | ToolCall, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer a tool call. Never raises for what the tool or its arguments did wrong; interrupts pass."""
        asked = _as_call(self.name, input)
        configurable = (config or {}).get("configurable") or {}
        call = Call(caller_of(config), _uuid(configurable.get("thread_id")), run_of(config), str(asked["id"]))
        token = _current.set(call)
        try:
            with counted(self.name, call.call_id) as stopwatch:
                stopwatch.tell(lambda: content_arguments(asked["args"]))
                try:
                    result = await self._execute(asked, config)
                except asyncio.CancelledError:
                    stopwatch.end("cancelled")
                    raise
                seconds = stopwatch.end(result.outcome)
                stopwatch.tell(lambda: content_result(result.message))
        finally:
            _current.reset(token)
        self._record(call, asked, result, seconds)
        return result.message

    async def _execute(self, asked: dict[str, Any], config: RunnableConfig | None) -> _Result:
        if problem := asked.get("refused") or check_arguments(self.inner, asked["args"]):
            return self._failed(asked, "invalid", f"{self.name} was not run: {problem}")
        try:
            async with asyncio.timeout(self.timeout_seconds):
                message = await self.inner.ainvoke(cast(ToolCall, {**asked, "type": "tool_call"}), config)
        except GraphBubbleUp:  # an interrupt or a drain: the run's affair, not an error
            raise
        except TimeoutError:
            text = f"{self.name} took longer than {self.timeout_seconds:g} s and was ended. Try something smaller, or answer without it."
            return self._failed(asked, "timeout", text)
        except FreeholdError as error:
            return self._failed(asked, "error", f"{self.name} failed: {error.message}{'. ' + error.hint if error.hint else ''}")
        except Exception as error:  # noqa: BLE001 - tools are anybody's code; what goes wrong is an answer to the model
            log.warning("tool %s failed", self.name, **logs.failure(error, action="tool_failed", tool=self.name))
            return self._failed(
                asked, "error", f"{self.name} failed: {type(error).__name__}: {error}. Try other arguments, or go on without it."
            )
        return _Result("ok", message)

    def _failed(self, asked: dict[str, Any], outcome: Outcome, text: str) -> _Result:
        return _Result(outcome, ToolMessage(text, tool_call_id=asked["id"], name=self.name, status="error"), text)

    def _record(self, call: Call, asked: dict[str, Any], result: _Result, seconds: float) -> None:
        if self.call_log is not None:
            self.call_log.record(
                ToolCallRecord(
                    organisation=call.caller.organisation,
                    owner=call.caller.owner,
                    thread_id=call.thread_id,
                    run_id=call.run_id,
                    tool=self.name,
                    arguments=asked["args"],
                    outcome=result.outcome,
                    error=result.error,
                    repair=asked.get("repair"),
                    duration_ms=seconds * 1000,
                )
            )


def guard(tool: BaseTool, *, timeout_seconds: float, call_log: ToolCallLog | None = None) -> GuardedTool:
    """Put a tool behind the wrapper. A tool call may carry `repair` (how it was mended) and `refused` (why it must not run)."""
    return GuardedTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.args_schema,
        return_direct=tool.return_direct,
        response_format=tool.response_format,
        metadata=tool.metadata,
        tags=tool.tags,
        inner=tool,
        timeout_seconds=timeout_seconds,
        call_log=call_log,
    )


def check_arguments(tool: BaseTool, arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments, as a sentence for the model, or None.

    E.g. `expression: field required. Arguments of calculate: expression (string, required).`
    """
    schema = tool.args_schema
    problems: list[str] = []
    known: set[str] = set()
    if isinstance(schema, dict):
        known = set(schema.get("properties", ()))
        found = jsonschema.Draft202012Validator(schema).iter_errors(arguments)
        problems = [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in found]
    elif isinstance(schema, type) and issubclass(schema, BaseModel):
        known = set(schema.model_fields)
        try:
            schema.model_validate(arguments)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg'][:1].lower()}{item['msg'][1:]}" for item in error.errors()]
    # Arguments a tool would drop silently are usually a required one under another name.
    problems += [f"{name}: there is no such argument" for name in arguments if known and name not in known]
    if not problems:
        return None
    return f"{'; '.join(problems[:5])}. Arguments of {tool.name}: {describe_arguments(tool)}. Call it again with these."


def describe_arguments(tool: BaseTool) -> str:
    """`expression (string, required), digits (integer)`."""
    schema = tool.tool_call_schema
    shape = schema if isinstance(schema, dict) else cast(type[BaseModel], schema).model_json_schema()
    required = set(shape.get("required", ()))
    properties = shape.get("properties", {}).items()
    return (
        ", ".join(f"{name} ({value.get('type', 'value')}{', required' if name in required else ''})" for name, value in properties)
        or "none"
    )


def _as_call(name: str, given: str | dict[str, Any] | ToolCall) -> dict[str, Any]:
    """A tool call as agents send it, or bare arguments as tests and other graphs may."""
    if isinstance(given, dict) and given.get("type") == "tool_call":
        call: dict[str, Any] = {**given}
        return {**call, "args": dict(call.get("args") or {}), "id": call.get("id") or "direct"}
    return {"name": name, "args": dict(given) if isinstance(given, dict) else {"input": given}, "id": "direct", "type": "tool_call"}


def _uuid(value: object) -> UUID | None:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None
