"""What assistants are called as tools, and what their results say."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest

from freehold.core.assistant import Assistant
from freehold.core.ids import assistant_id, new_id
from freehold.server.follow import Ending
from freehold.server.mcp.tools import result_of, tool_name


def assistant(graph_id: str, name: str, its_id: UUID | None = None) -> Assistant:
    given: dict[str, Any] = {field.name: None for field in fields(Assistant)}
    return Assistant(**{**given, "assistant_id": its_id or new_id(), "graph_id": graph_id, "name": name})


def test_the_assistant_of_a_graph_has_the_graphs_name() -> None:
    assert tool_name(assistant("agent", "agent", assistant_id("agent"))) == "agent"


@pytest.mark.parametrize("name", ["Écho & more!", "", "x" * 200, "a/b.c", "日本語"])
def test_a_name_is_fit_for_every_client_and_unique(name: str) -> None:
    names = {tool_name(assistant("agent", name)) for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", made) for made in names)


def test_a_graph_whose_id_is_no_tool_name_gets_one_that_is() -> None:
    odd = assistant("my agent", "my agent", assistant_id("my agent"))
    assert re.fullmatch(r"my_agent-[0-9a-f]{12}", tool_name(odd))


def test_values_that_are_no_object_are_wrapped_into_one() -> None:
    assert result_of(Ending("success", [1, 2])) == {
        "content": [{"type": "text", "text": "[1,2]"}],
        "isError": False,
        "structuredContent": {"result": [1, 2]},
    }


def test_an_error_is_a_result_that_says_so() -> None:
    assert result_of(Ending("error", error={"error": "ValueError", "message": "no"})) == {
        "content": [{"type": "text", "text": "ValueError: no"}],
        "isError": True,
    }
