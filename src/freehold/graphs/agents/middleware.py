"""The small steps around each model and tool call of the shipped agent, one class each, in the order of `assistant.py`."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.model_call_limit import ModelCallLimitState
from langchain.agents.middleware.types import AgentState, ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command

from freehold.graphs.agents.failures import as_answer, explain_failure
from freehold.graphs.agents.model import REFUSED, REPAIRED
from freehold.graphs.agents.window import fit_window
from freehold.rag.cite import cited, format_passages
from freehold.rag.retrieve import Passage
from freehold.storage.tool_calls import ToolCallLog
from freehold.telemetry import logs
from freehold.tools.base import run_of
from freehold.tools.calculate import NAME as CALCULATE
from freehold.tools.search_knowledge_base import NAME as SEARCH
from freehold.tools.search_knowledge_base import passages_of

log = logging.getLogger(__name__)

Handler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
State = AgentState[Any]

#: `AIMessage.additional_kwargs["sources"]`: the cited passages.
SOURCES = "sources"

_EMPTY = "The model gave no answer. Please ask again, perhaps in other words."
_NOT_FOUND = "I found nothing relevant to this in your documents."


class ModelCallLimit(ModelCallLimitMiddleware[Any, Any]):
    """Ends a run that goes in circles with a sentence a user understands."""

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: ModelCallLimitState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        update = self.before_model(state, runtime)
        if update:
            sentence = f"I stopped after {self.run_limit} steps without reaching an answer. Please ask for something smaller."
            update["messages"] = [AIMessage(sentence, response_metadata={"finish_reason": "limit", "error_code": "model_call_limit"})]
        return update


class AnswerFailures(AgentMiddleware[Any, Any]):
    """A model server that is down, slow or busy becomes the assistant's answer, so the thread stays usable."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any]:
        try:
            response = await handler(request)
        except Exception as error:
            if (failure := explain_failure(error)) is None:
                raise
            log.warning("model call failed: %s", logs.told(error), extra={"action": "model_failed", "error_code": failure.code})
            return ModelResponse(result=[as_answer(failure)])
        last = response.result[-1] if response.result else None
        if isinstance(last, AIMessage) and not last.text.strip() and not last.tool_calls:
            metadata = {**last.response_metadata, "error_code": "empty_answer"}
            response.result[-1] = last.model_copy(update={"content": _EMPTY, "response_metadata": metadata})
        return response


class FitContext(AgentMiddleware[Any, Any]):
    """Shows the model what its context holds; when the server still says it is too much, once more with half."""

    def __init__(self, budget_tokens: int) -> None:
        super().__init__()
        self._budget_tokens = budget_tokens

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any]:
        fitting = fit_window(request.messages, self._budget_tokens)
        try:
            return await handler(request.override(messages=fitting))
        except Exception as error:
            failure = explain_failure(error)
            if failure is None or failure.code != "context_overflow":
                raise
            return await handler(request.override(messages=fit_window(request.messages, self._budget_tokens // 2)))


class NumberPassages(AgentMiddleware[Any, Any]):
    """Numbers the passages of all searches of a turn in one row, so that the mark [3] means one passage only."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any]:
        return await handler(request.override(messages=number_passages(request.messages)))


class MarkCalls(AgentMiddleware[Any, Any]):
    """Hands the notes the chat model made about a call (mended, not runnable) to the tool's wrapper."""

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        call_id = request.tool_call["id"]
        notes: dict[str, Any] = next((m.additional_kwargs for m in reversed(request.state["messages"]) if _calls(m, call_id)), {})
        extra = {"repair": notes.get(REPAIRED, {}).get(call_id), "refused": notes.get(REFUSED, {}).get(call_id)}
        return await handler(request.override(tool_call={**request.tool_call, **extra}))  # type: ignore[typeddict-item]


class CiteSources(AgentMiddleware[Any, Any]):
    """Last step: turns marks into citations computed from the passages, and says so where nothing was found."""

    async def aafter_agent(self, state: State, runtime: Runtime[Any]) -> dict[str, Any] | None:
        messages = state["messages"]
        answer = messages[-1]
        if not isinstance(answer, AIMessage) or answer.tool_calls or answer.response_metadata.get("error_code"):
            return None
        finished = finish_answer(answer, _turn(messages))
        return None if finished is answer else {"messages": [finished]}


class SettleLog(AgentMiddleware[Any, Any]):
    """A run ends only when the rows of its tool calls are written."""

    def __init__(self, call_log: ToolCallLog) -> None:
        super().__init__()
        self._call_log = call_log

    async def aafter_agent(self, state: State, runtime: Runtime[Any]) -> dict[str, Any] | None:
        await self._call_log.settle(run_of(get_config()))
        return None


def number_passages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Messages whose search answers are numbered on from the one before; numbers begin anew with each user message."""
    numbered: list[AnyMessage] = []
    count = 0
    for message in messages:
        if isinstance(message, HumanMessage):
            count = 0
        elif passages := _passages(message):
            message = message.model_copy(update={"content": format_passages(passages, first=count + 1)})
            count += len(passages)
        numbered.append(message)
    return numbered


def finish_answer(answer: AIMessage, turn: Sequence[AnyMessage]) -> AIMessage:
    """The answer with what small models leave out: citations, a plain "nothing found", the result of a calculation."""
    return _with_result(_with_sources(answer, turn), turn)


def _with_result(answer: AIMessage, turn: Sequence[AnyMessage]) -> AIMessage:
    """A model that was given `42 * 17 = 714` sometimes thanks for it and keeps the number to itself."""
    results = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == CALCULATE and m.status != "error"]
    if not results or not isinstance(answer.content, str):
        return answer
    value = results[-1].rsplit("= ", 1)[-1]
    shown = answer.content.replace(",", "").replace("\u202f", "")
    # Rounding is the model's right, so the leading digits suffice.
    return (
        answer
        if value[:4].rstrip(".") in shown
        else answer.model_copy(update={"content": f"{answer.content.rstrip()}\n\n{results[-1]}".strip()})
    )


def _with_sources(answer: AIMessage, turn: Sequence[AnyMessage]) -> AIMessage:
    searches = [message for message in turn if isinstance(message, ToolMessage) and message.name == SEARCH and message.status != "error"]
    if not searches or not isinstance(answer.content, str):
        return answer
    passages = [passage for message in searches for passage in _passages(message)]
    if not passages:
        return (
            answer if _says_not_found(answer.content) else answer.model_copy(update={"content": f"{_NOT_FOUND} {answer.content}".strip()})
        )
    text, sources = cited(answer.content, passages)
    listed = [{"chunk_id": str(s.chunk_id), "source": s.source, "page": s.page, "heading": s.heading, "score": s.score} for s in sources]
    return answer.model_copy(update={"content": text, "additional_kwargs": {**answer.additional_kwargs, SOURCES: listed}})


_DENIAL = re.compile(
    r"\b(?:not|n['’]t|no|nothing|none)\b[^.]{0,60}\b(?:contain|mention|find|found|relevant|information"
    r"|provide|specif|documents?|knowledge base)",
    re.IGNORECASE,
)


def _says_not_found(text: str) -> bool:
    return _DENIAL.search(text) is not None and "access" not in text


def _passages(message: AnyMessage) -> list[Passage]:
    if isinstance(message, ToolMessage) and message.name == SEARCH and isinstance(message.artifact, list):
        return passages_of(message.artifact)
    return []


def _turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    start = next((index for index in range(len(messages) - 1, -1, -1) if isinstance(messages[index], HumanMessage)), 0)
    return messages[start:]


def _calls(message: AnyMessage, call_id: str | None) -> bool:
    return isinstance(message, AIMessage) and any(call["id"] == call_id for call in message.tool_calls)
