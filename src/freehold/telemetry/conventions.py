"""What spans say: OpenTelemetry's GenAI conventions, and OpenInference's beside them, which Phoenix reads. Pure.

Names as of GenAI conventions 1.41 (status: development) and OpenInference 0.1.42. Functions whose names begin with
`content_` give prompts, answers and arguments; nobody may call them unless `telemetry.content` is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from freehold.core.encode import to_json
from freehold.core.run import Run

Attributes = dict[str, str | int | float | bool | Sequence[str]]

#: Characters of one piece of content; a trace is for reading.
KEEP_CHARACTERS = 16_000

#: Of a span that is nothing in particular, a request for instance: Phoenix calls one without a kind "unknown".
ANY: Attributes = {"openinference.span.kind": "CHAIN"}

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}


def run_ids(run: Run) -> Attributes:
    """What every span of a run carries, so that any of them is found by the ids clients know."""
    return {
        "freehold.run_id": str(run.run_id),
        "freehold.thread_id": str(run.thread_id),
        "gen_ai.conversation.id": str(run.thread_id),
        "session.id": str(run.thread_id),
    }


def agent(run: Run, graph: str | None = None) -> Attributes:
    """A run being executed; the graph is known once it is opened."""
    named: Attributes = {"gen_ai.agent.name": graph, "agent.name": graph} if graph else {}
    return {
        "openinference.span.kind": "AGENT",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": str(run.assistant_id),
        "freehold.attempt": run.attempt,
        "freehold.epoch": run.epoch,
        **named,
    }


def node(name: str, step: int | None) -> Attributes:
    """One node of a graph in one superstep."""
    return {
        "openinference.span.kind": "CHAIN",
        "graph.node.id": name,
        "freehold.node": name,
        **({"freehold.step": step} if step is not None else {}),
    }


def chat(model: str, *, provider: str | None, asked: Mapping[str, Any]) -> Attributes:
    """A call of a language model, as it begins.

    Args:
        provider: as LangChain names it, e.g. "openai".
        asked: LangChain's `invocation_params`.
    """
    attributes: Attributes = {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider or "unknown",
        "gen_ai.request.model": model,
        "llm.model_name": model,
    }
    limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
    for name, value in (
        ("gen_ai.request.max_tokens", limit),
        ("gen_ai.request.temperature", asked.get("temperature")),
        ("gen_ai.request.top_p", asked.get("top_p")),
    ):
        if isinstance(value, int | float) and not isinstance(value, bool):
            attributes[name] = value
    return attributes


def chat_answer(message: BaseMessage | None, read: int, written: int) -> Attributes:
    """What the answer says about itself, without its text."""
    told = message.response_metadata if isinstance(message, AIMessage) else {}
    attributes: Attributes = {}
    if model := told.get("model_name") or told.get("model"):
        attributes["gen_ai.response.model"] = str(model)
    if reason := told.get("finish_reason"):
        attributes["gen_ai.response.finish_reasons"] = [str(reason)]
    if identity := told.get("id") or (message.id if message else None):
        attributes["gen_ai.response.id"] = str(identity)
    if read or written:
        attributes |= {
            "gen_ai.usage.input_tokens": read,
            "gen_ai.usage.output_tokens": written,
            "llm.token_count.prompt": read,
            "llm.token_count.completion": written,
            "llm.token_count.total": read + written,
        }
    return attributes


def tool(name: str, call_id: str | None) -> Attributes:
    """A call of a tool."""
    return {
        "openinference.span.kind": "TOOL",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "tool.name": name,
        **({"gen_ai.tool.call.id": call_id} if call_id else {}),
    }


def retrieval(source: str) -> Attributes:
    """A search for passages; `source` is what is searched, e.g. "knowledge"."""
    return {"openinference.span.kind": "RETRIEVER", "gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": source}


def found(passages: Iterable[tuple[str, float | None]]) -> Attributes:
    """Ids and scores of what a search found."""
    attributes: Attributes = {}
    count = 0
    for number, (identity, score) in enumerate(passages):
        count += 1
        attributes[f"retrieval.documents.{number}.document.id"] = identity
        if score is not None:
            attributes[f"retrieval.documents.{number}.document.score"] = score
    return {**attributes, "freehold.retrieval.count": count}


def content_value(direction: str, value: Any) -> Attributes:
    """Any input or output: `direction` is "input" or "output"."""
    if isinstance(value, str):
        return {f"{direction}.value": value[:KEEP_CHARACTERS], f"{direction}.mime_type": "text/plain"}
    return {f"{direction}.value": _json(value), f"{direction}.mime_type": "application/json"}


def content_messages(direction: str, messages: Sequence[BaseMessage]) -> Attributes:
    """A conversation in both conventions: `direction` is "input" or "output"."""
    attributes: Attributes = {f"gen_ai.{direction}.messages": _json([_message(message) for message in messages])}
    for number, message in enumerate(messages):
        prefix = f"llm.{direction}_messages.{number}.message"
        attributes[f"{prefix}.role"] = _ROLES.get(message.type, message.type)
        attributes[f"{prefix}.content"] = str(message.text)[:KEEP_CHARACTERS]
        for place, call in enumerate(message.tool_calls if isinstance(message, AIMessage) else ()):
            attributes[f"{prefix}.tool_calls.{place}.tool_call.function.name"] = call["name"]
            attributes[f"{prefix}.tool_calls.{place}.tool_call.function.arguments"] = _json(call["args"])
    return {**attributes, **_shortly(direction, messages)}


def _shortly(direction: str, messages: Sequence[BaseMessage]) -> Attributes:
    """What lists of spans show of a model call: the last thing that was said, or the tools it asked for."""
    last = messages[-1] if messages else None
    if isinstance(last, AIMessage) and last.tool_calls and not last.text:
        return content_value(direction, [{"name": call["name"], "arguments": call["args"]} for call in last.tool_calls])
    return content_value(direction, str(last.text)) if last else {}


def content_arguments(arguments: Any) -> Attributes:
    """What a tool was called with."""
    return {"gen_ai.tool.call.arguments": _text(arguments), **content_value("input", arguments)}


def content_result(result: Any) -> Attributes:
    """What a tool answered."""
    answer = result.text if isinstance(result, ToolMessage) else result
    return {"gen_ai.tool.call.result": _text(answer), **content_value("output", answer)}


def content_query(question: str) -> Attributes:
    """What was searched for."""
    return {"gen_ai.retrieval.query.text": question[:KEEP_CHARACTERS], **content_value("input", question)}


def content_passages(texts: Iterable[str]) -> Attributes:
    """The passages found, in the order of `found`."""
    return {f"retrieval.documents.{number}.document.content": text[:KEEP_CHARACTERS] for number, text in enumerate(texts)}


def _message(message: BaseMessage) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if isinstance(message, ToolMessage):
        parts.append({"type": "tool_call_response", "id": message.tool_call_id, "response": message.text})
    elif message.text:
        parts.append({"type": "text", "content": message.text})
    if isinstance(message, AIMessage):
        parts += [{"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    return {"role": _ROLES.get(message.type, message.type), "parts": parts}


def _text(value: Any) -> str:
    return value[:KEEP_CHARACTERS] if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return to_json(value).decode()[:KEEP_CHARACTERS]
