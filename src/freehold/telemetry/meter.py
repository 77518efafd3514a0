"""Counts what the graph of a run does through LangChain's callbacks, so that metrics hold for anybody's models and tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphBubbleUp

from freehold.telemetry import model_calls
from freehold.telemetry.tool_calls import ToolCall, is_counted

#: Type of a failed model call for the label `error_type`, e.g. "model_timeout".
ErrorType = Callable[[BaseException], str]


class Meter(BaseCallbackHandler):
    """For one run; `close` ends what LangChain never told the end of, as with a cancelled task."""

    run_inline = True  # in the caller's own context, and without a thread for each event

    def __init__(self, error_type: ErrorType) -> None:
        self._error_type = error_type
        self._model_calls: dict[UUID, model_calls.ModelCall] = {}
        self._tool_calls: dict[UUID, ToolCall] = {}
        #: Read and written by the models of this run so far, as far as they said so.
        self.tokens = 0

    @property
    def ignore_chain(self) -> bool:
        return True

    @property
    def ignore_retriever(self) -> bool:
        return True

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **more: Any) -> None:
        self._model_calls[run_id] = model_calls.announce(model_name(serialized, **more))

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **more: Any) -> None:
        self._model_calls[run_id] = model_calls.announce(model_name(serialized, **more))

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **more: Any) -> None:
        if call := self._model_calls.get(run_id):
            call.first_token()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        if call := self._model_calls.pop(run_id, None):
            read, written = usage(response)
            self.tokens += read + written
            call.tokens(read, written)
            call.end()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        if call := self._model_calls.pop(run_id, None):
            cancelled = model_calls.is_cancellation(error)
            call.end(None if cancelled else self._error_type(error), cancelled=cancelled)

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **more: Any) -> None:
        name = tool_name(serialized, **more)
        if not is_counted(name):
            self._tool_calls[run_id] = ToolCall(name)

    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        if call := self._tool_calls.pop(run_id, None):
            call.end("error" if isinstance(output, ToolMessage) and output.status == "error" else "ok")

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        call = self._tool_calls.pop(run_id, None)
        if call is None:
            return
        if isinstance(error, GraphBubbleUp):  # an interrupt is not the end of a call
            call.leave()
        else:
            call.end("cancelled" if model_calls.is_cancellation(error) else "error")

    def close(self) -> None:
        """The run is over, and with it whatever it had under way."""
        while self._model_calls:
            self._model_calls.popitem()[1].end(cancelled=True)
        while self._tool_calls:
            self._tool_calls.popitem()[1].end("cancelled")


def model_name(serialized: dict[str, Any] | None, *, metadata: dict[str, Any] | None = None, **more: Any) -> str:
    """What the endpoint calls the model of a call; the class where a model has no name."""
    asked = more.get("invocation_params") or {}
    name = asked.get("model") or asked.get("model_name") or (metadata or {}).get("ls_model_name") or _class_name(serialized)
    return str(name)


def tool_name(serialized: dict[str, Any] | None, *, name: str | None = None, **more: Any) -> str:
    """The name a model calls the tool by."""
    return name or str((serialized or {}).get("name") or "unknown")


def usage(response: LLMResult) -> tuple[int, int]:
    """Tokens read and written, as far as the model said so."""
    for generations in response.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage) and generation.message.usage_metadata:
                told = generation.message.usage_metadata
                return told["input_tokens"], told["output_tokens"]
    counted = (response.llm_output or {}).get("token_usage") or {}
    return int(counted.get("prompt_tokens") or 0), int(counted.get("completion_tokens") or 0)


def _class_name(serialized: dict[str, Any] | None) -> str:
    return str((serialized or {}).get("name") or "unknown")
