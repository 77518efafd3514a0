"""The chat model agents talk to: any OpenAI-compatible endpoint, made usable for small models and measured.

Calls a model wrote as text become tool calls, arguments are fitted to their schemas, connection failures are retried
before anything was shown, and every call is counted. Asynchronous calls only; `invoke` stays LangChain's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.exceptions import ModelAPIError, ModelConnectionError, ModelRateLimitError
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolCall, ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from freehold.config.load import load
from freehold.config.model import FIRST_FURTHER_PORT, ModelSection
from freehold.config.section import LOOPBACK_HOSTS
from freehold.config.settings import LimitsSection
from freehold.core.errors import ConfigError
from freehold.graphs import toolcalls
from freehold.graphs.agents.failures import error_type
from freehold.telemetry.model_calls import ModelCall, is_cancellation, join

#: Waits before each new attempt, in seconds; a server that is starting or restarting needs a moment.
_RETRY_DELAYS = (0.5, 2.0)
_CONNECT_SECONDS = 5.0

#: `AIMessage.additional_kwargs[...]`: call id -> how it was mended, or why it must not run.
REPAIRED = "repaired"
REFUSED = "refused"


def create_chat_model(
    model: ModelSection, limits: LimitsSection, *, base_url: str, api_key: str | None, name: str, repair: bool = True
) -> ForgivingChatModel:
    """A chat model on an endpoint such as `http://127.0.0.1:8000/v1`.

    Args:
        model, limits: timeouts and the length of an answer.
        name: what the endpoint calls the model.
        repair: read calls that were written as text; off only to measure what that brings.
    """
    # A proxy of the environment is for the outside world; our own model server is not reached through it.
    is_local = urlsplit(base_url).hostname in LOOPBACK_HOSTS
    timeout = httpx.Timeout(model.timeout_seconds, connect=_CONNECT_SECONDS)
    return ForgivingChatModel(
        model=name,
        base_url=base_url,
        api_key=SecretStr(api_key or "none"),
        timeout=timeout,
        stream_chunk_timeout=model.timeout_seconds,
        max_retries=0,  # _attempts retries, but never what was silent for the whole timeout
        max_completion_tokens=limits.output_tokens,
        temperature=0,
        stream_usage=True,
        repair=repair,
        http_async_client=httpx.AsyncClient(timeout=timeout, trust_env=not is_local),
    )


def chat_model(name: str | None = None) -> ForgivingChatModel:
    """A model of this stack, for a project's own agents: as freehold.toml, `OPENAI_BASE_URL` and `FREEHOLD_MODEL` say.

    Where nothing is set it points at the model server this stack would start, so that a project loads without one.

    Args:
        name: of a table `[models.NAME]`, e.g. "coder"; default: the one in `[model]`.

    Raises:
        ConfigError: there is no such table, and no variable stands for it.
    """
    settings = load().settings
    model = settings.model if name is None else settings.models.get(name)
    if model is None:
        known = ", ".join(settings.models) or "none"
        raise ConfigError(f'no model "{name}" in freehold.toml; there are: {known}', hint=f"add a table [models.{name}]")
    base_url = model.base_url or f"http://{model.host}:{model.port or FIRST_FURTHER_PORT}/v1"
    key = model.api_key.get_secret_value() if model.api_key else None
    return create_chat_model(settings.model, settings.limits, base_url=base_url, api_key=key, name=model.name)


class ForgivingChatModel(ChatOpenAI):
    """An OpenAI-compatible chat model that reads badly written tool calls."""

    repair: bool = True

    async def aclose(self) -> None:
        """Close the connections to the endpoint; the model cannot be used afterwards."""
        await self.root_async_client.close()

    def _get_request_payload(self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        # Only the vendor's own API insists on the new name; self-hosted servers know the old one.
        if "api.openai.com" not in str(self.openai_api_base) and "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _measured(self.model_name) as call:
            for delay in (*_RETRY_DELAYS, None):
                try:
                    result = await super()._agenerate(messages, stop, run_manager, **kwargs)
                    break
                except (ModelConnectionError, ModelAPIError, ModelRateLimitError):
                    if delay is None:
                        raise
                    await asyncio.sleep(delay)
            message = result.generations[0].message
            if isinstance(message, AIMessage):
                _count_tokens(call, message)
                if self.repair:
                    mended = mend_message(message, tool_schemas(kwargs.get("tools")), _question(messages))
                    result.generations[0] = ChatGeneration(message=mended, generation_info=result.generations[0].generation_info)
        return result

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        stage = _Stage(tool_schemas(kwargs.get("tools")) if self.repair else [], _question(messages))
        with _measured(self.model_name) as call:
            async for raw in self._attempts(messages, stop, **kwargs):
                call.first_token()
                if isinstance(raw.message, AIMessageChunk):
                    _count_tokens(call, raw.message)
                for chunk in stage.feed(raw):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            for chunk in stage.end():
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _attempts(self, messages: list[BaseMessage], stop: list[str] | None, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        """The stream of the first attempt that begins; once something was shown there is no second one."""
        for delay in (*_RETRY_DELAYS, None):
            stream = super()._astream(messages, stop, **kwargs)
            try:
                first = await anext(stream, None)
                break
            except (ModelConnectionError, ModelAPIError, ModelRateLimitError):
                if delay is None:
                    raise
                await asyncio.sleep(delay)
        if first is not None:
            yield first
        async for chunk in stream:
            yield chunk


class _Stage:
    """What a stream passes through: text that may be a call waits, calls are mended, all else goes on at once."""

    def __init__(self, tools: Sequence[toolcalls.ToolSchema], question: str) -> None:
        self._tools = tools
        self._text = toolcalls.Holdback(tools, question)
        self._native: dict[Any, ToolCallChunk] = {}
        self._is_done = not tools

    def feed(self, chunk: ChatGenerationChunk) -> Iterable[ChatGenerationChunk]:
        message = chunk.message
        if self._is_done or not isinstance(message, AIMessageChunk):
            return [chunk]
        for piece in message.tool_call_chunks:
            self._collect(piece)
        text = self._text.push(message.content) if isinstance(message.content, str) else message.content
        shown = message.model_copy(update={"content": text, "tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []})
        passed = ChatGenerationChunk(message=shown, generation_info=chunk.generation_info)
        if not (chunk.generation_info or {}).get("finish_reason"):
            return [passed] if text or shown.usage_metadata or shown.additional_kwargs else []
        last = list(self.end())
        if any(isinstance(item.message, AIMessageChunk) and item.message.tool_call_chunks for item in last):
            passed.generation_info = {**(chunk.generation_info or {}), "finish_reason": "tool_calls"}
        return [*last, passed]

    def end(self) -> Iterable[ChatGenerationChunk]:
        if self._is_done:
            return []
        self._is_done = True
        rest, reading = self._text.finish()
        calls = _mended_native([(piece["id"], piece["name"] or "", piece["args"] or "") for piece in self._native.values()], self._tools)
        if reading and not calls.tool_calls:
            calls = _from_reading(reading)
        chunks = [ChatGenerationChunk(message=AIMessageChunk(content=rest))] if rest else []
        if calls.tool_calls:
            pieces = [
                ToolCallChunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index, type="tool_call_chunk")
                for index, call in enumerate(calls.tool_calls)
            ]
            chunks.append(ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=pieces, additional_kwargs=calls.notes)))
        return chunks

    def _collect(self, piece: ToolCallChunk) -> None:
        known = self._native.setdefault(
            piece["index"], ToolCallChunk(name="", args="", id=None, index=piece["index"], type="tool_call_chunk")
        )
        known["name"] = (known["name"] or "") + (piece["name"] or "")
        known["args"] = (known["args"] or "") + (piece["args"] or "")
        known["id"] = known["id"] or piece["id"]


class _Calls:
    """Tool calls with the notes that go into `additional_kwargs`."""

    def __init__(self) -> None:
        self.tool_calls: list[ToolCall] = []
        self.notes: dict[str, Any] = {}

    def add(self, call: toolcalls.ReadCall, call_id: str | None, refused: str | None = None) -> None:
        call_id = call_id or f"call_{uuid4().hex[:24]}"
        self.tool_calls.append(ToolCall(name=call.name, args=call.arguments, id=call_id, type="tool_call"))
        if call.repair:
            self.notes.setdefault(REPAIRED, {})[call_id] = call.repair
        if refused:
            self.notes.setdefault(REFUSED, {})[call_id] = refused


def mend_message(message: AIMessage, tools: Sequence[toolcalls.ToolSchema], question: str) -> AIMessage:
    """A whole message with its calls read and mended; the same message where there is nothing to do."""
    if not tools:
        return message
    native = [(call["id"], call["name"], json.dumps(call["args"])) for call in message.tool_calls]
    native += [(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    calls = _mended_native(native, tools)
    content = message.content
    if not calls.tool_calls and isinstance(content, str) and (reading := toolcalls.read(content, tools, question)):
        calls, content = _from_reading(reading), reading.lead_in
    if not calls.tool_calls:
        return message
    return message.model_copy(
        update={
            "content": content,
            "tool_calls": calls.tool_calls,
            "invalid_tool_calls": [],
            "additional_kwargs": {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"} | calls.notes,
        }
    )


def tool_schemas(bound: object) -> list[toolcalls.ToolSchema]:
    """The tools of a request, e.g. `[{"type": "function", "function": {"name": …, "parameters": {…}}}]`."""
    functions = [item["function"] for item in bound if isinstance(item, dict) and "function" in item] if isinstance(bound, list) else []
    return [toolcalls.ToolSchema(function["name"], function.get("parameters") or {}) for function in functions]


def _mended_native(written: Iterable[tuple[str | None, str, str]], tools: Sequence[toolcalls.ToolSchema]) -> _Calls:
    calls = _Calls()
    for call_id, name, arguments in written:
        mended = toolcalls.mend(name, _object_or_text(arguments), tools)
        if mended is not None:
            calls.add(mended, call_id)
        else:  # an unknown tool is answered by the agent; arguments that are not JSON must not run as none
            refused = f"the arguments are not a JSON object: {arguments[:200]}"
            calls.add(toolcalls.ReadCall(name, {}), call_id, refused)
    return calls


def _object_or_text(arguments: str) -> Any:
    """Arguments as the protocol sends them are JSON text; only what is not needs mending."""
    try:
        value = json.loads(arguments)
    except (json.JSONDecodeError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _from_reading(reading: toolcalls.Reading) -> _Calls:
    calls = _Calls()
    for call in reading.calls:
        calls.add(call, None)
    return calls


def _question(messages: Sequence[BaseMessage]) -> str:
    return next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")


@contextmanager
def _measured(model: str) -> Iterator[ModelCall]:
    """Counts one call: tokens, seconds, time to the first token, errors by type."""
    with join(model) as call:
        try:
            yield call
        except BaseException as error:
            if not is_cancellation(error):
                call.end(error_type(error))
            raise


def _count_tokens(call: ModelCall, message: AIMessage) -> None:
    if message.usage_metadata:
        call.tokens(message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"])
