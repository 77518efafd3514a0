"""Assistants as MCP tools: what they are called, what they take, and what their result says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freehold.core.assistant import Assistant
from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, GraphError
from freehold.core.ids import assistant_id
from freehold.graphs import schemas
from freehold.server.conversation import read_answer
from freehold.server.follow import Ending
from freehold.server.parts import ServerParts
from freehold.storage.assistants import AssistantFilter

#: Tools of one page of the list, and assistants that are looked at for a name.
PAGE = 100
MOST = 1000

_NAME_LENGTH = 64
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Tool:
    """An assistant under the name it has as a tool."""

    name: str
    assistant: Assistant


async def tools_of(parts: ServerParts, caller: Caller, *, limit: int = MOST, offset: int = 0) -> tuple[list[Tool], int]:
    """Tools of the caller, those made first first, and how many there are."""
    wanted = AssistantFilter(sort_by="created_at", sort_order="asc", limit=limit, offset=offset)
    found, total = await parts.assistants.search(caller, wanted, loaded=list(parts.graphs.graphs))
    return [Tool(tool_name(assistant), assistant) for assistant in found], total


def tool_name(assistant: Assistant) -> str:
    """The graph's id for the assistant every graph has; others' own name with the end of their id, which makes it unique.

    A name holds letters, digits, `_` and `-` only, as clients and models demand.
    """
    if assistant.assistant_id == assistant_id(assistant.graph_id) and not _UNFIT.search(assistant.graph_id):
        return assistant.graph_id[:_NAME_LENGTH]
    ending = f"-{assistant.assistant_id.hex[-12:]}"
    fit = _UNFIT.sub("_", assistant.name or assistant.graph_id).strip("_") or "assistant"
    return fit[: _NAME_LENGTH - len(ending)] + ending


async def find_tool(parts: ServerParts, caller: Caller, name: str) -> tuple[UUID, str] | None:
    """Assistant and graph behind a tool's name; None where the caller has no such tool."""
    if name in parts.graphs.graphs and not _UNFIT.search(name):
        return assistant_id(name), name
    tools, _ = await tools_of(parts, caller)
    return next(((tool.assistant.assistant_id, tool.assistant.graph_id) for tool in tools if tool.name == name), None)


class InputSchemas:
    """What the graphs take. Found out once per graph, because a factory may be slow; one per server."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    async def shown(self, parts: ServerParts, tool: Tool) -> dict[str, Any] | None:
        """A tool as clients see it; None where its graph does not open."""
        graph_id = tool.assistant.graph_id
        try:
            taken = await self._of(parts, graph_id)
        except GraphError:
            return None
        described = tool.assistant.description or f"The agent {tool.assistant.name or graph_id}."
        return {"name": tool.name, "title": tool.assistant.name or graph_id, "description": described, "inputSchema": taken}

    async def _of(self, parts: ServerParts, graph_id: str) -> dict[str, Any]:
        if graph_id not in self._known:
            async with parts.graphs.open(graph_id, {"configurable": {}}, access="assistants.read") as graph:
                found = schemas.schemas(graph_id, graph)["input_schema"]
            # A tool takes an object, whatever the graph's state is.
            self._known[graph_id] = found if found and found.get("type") == "object" else {"type": "object"}
        return self._known[graph_id]


def result_of(ending: Ending) -> dict[str, Any]:
    """What a tool call gives: the agent's answer as text, and the values the run left. An error is a result too: the model reads it."""
    try:
        answer = read_answer(ending)
    except FreeholdError as error:
        return _result(error.message, error=True)
    if ending.interrupts:
        return _result(f"The agent stopped to ask, which a tool call cannot answer: {_json(ending.interrupts)}", ending, error=True)
    return _result(answer.text or _json(ending.values), ending)


def refused(error: FreeholdError) -> dict[str, Any]:
    """What a tool call gives that could not begin."""
    return _result(f"{error.message} ({error.hint})" if error.hint else error.message, error=True)


def _result(text: str, ending: Ending | None = None, *, error: bool = False) -> dict[str, Any]:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": error}
    if ending is not None:
        result["structuredContent"] = ending.values if isinstance(ending.values, Mapping) else {"result": ending.values}
    return result


def _json(value: Mapping[str, Any] | Sequence[Any] | Any) -> str:
    return to_json(value).decode()
