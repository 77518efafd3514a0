"""A client's context as the type its graph declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from freehold.graphs.context import context_of


class State(TypedDict):
    x: int


class Typed(TypedDict, total=False):
    a: int


@dataclass
class WithDefaults:
    a: int = 1


@dataclass
class Needs:
    a: int


class Model(BaseModel):
    a: int = Field(1, alias="A")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


def graph(schema: Any) -> Any:
    builder = StateGraph(State, context_schema=schema)
    builder.add_node("n", lambda state: state)
    builder.add_edge(START, "n")
    builder.add_edge("n", END)
    return builder.compile()


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        (None, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (None, None, None),
        (Typed, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (WithDefaults, {"a": 2, "b": 3}, {"a": 2}),
        (WithDefaults, {"b": 3}, {}),
        (WithDefaults, None, {}),
        (Needs, {"a": 1, "b": 2}, {"a": 1}),
        (Needs, {"b": 2}, None),
        (Needs, None, None),
        (Model, {"A": 2, "b": 3}, {"A": 2}),
        (Open, {"b": 3}, {"b": 3}),
    ],
)
def test_a_graph_gets_the_keys_its_context_has(schema: Any, given: Any, expected: Any) -> None:
    assert context_of(graph(schema), given) == expected
