"""Schemas and drawings in the shapes clients expect."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, Required, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from freehold.core.errors import NotFound
from freehold.graphs.schemas import drawing, schemas, subgraph_schemas


class State(TypedDict):
    question: str
    answers: Annotated[list[str], operator.add]
    note: NotRequired[int]


class Given(TypedDict):
    question: str


class Context(TypedDict, total=False):
    language: str


@dataclass
class DataContext:
    language: str = "en"


class ModelState(BaseModel):
    count: int = 0


class Source(TypedDict):
    title: str
    page: NotRequired[int]


class Report(TypedDict, total=False):
    sources: Required[Annotated[list[Source], operator.add]]
    best: Source | None
    by_name: dict[str, Source]


class Tree(TypedDict):
    children: list[Tree]


class Unspeakable:
    """A type without a JSON schema."""


class OddContext(TypedDict):
    thing: Unspeakable


def compiled(state: Any = State, **types: Any) -> Any:
    builder = StateGraph(state, **types)
    builder.add_node("work", lambda state: {})
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile()


def parent() -> Any:
    builder = StateGraph(State)
    builder.add_node("inner", compiled())
    builder.add_edge(START, "inner")
    return builder.compile()


def test_all_five_schemas_of_a_graph() -> None:
    found = schemas("agent", compiled(input_schema=Given, context_schema=Context))
    assert found["graph_id"] == "agent"
    assert set(found["input_schema"]["properties"]) == {"question"}
    assert set(found["output_schema"]["properties"]) == {"question", "answers", "note"}
    assert set(found["state_schema"]["properties"]) == {"question", "answers", "note"}
    assert found["state_schema"]["required"] == ["question", "answers"]
    assert found["context_schema"]["properties"]["language"]["type"] == "string"
    assert found["config_schema"]["properties"]["language"]["type"] == "string"


def test_a_graph_without_a_context_has_none_and_an_empty_configuration() -> None:
    found = schemas("agent", compiled())
    assert found["context_schema"] is None
    assert found["config_schema"]["properties"] == {}


@pytest.mark.parametrize("context", [Context, DataContext, ModelState])
def test_a_context_may_be_any_kind_of_record(context: type) -> None:
    assert schemas("agent", compiled(context_schema=context))["context_schema"]["properties"]


def test_a_state_may_be_a_pydantic_model() -> None:
    assert schemas("agent", compiled(ModelState))["state_schema"]["properties"]["count"]["type"] == "integer"


@pytest.mark.parametrize("kind", ["input_schema", "output_schema", "state_schema", "context_schema"])
def test_records_within_records_are_described(kind: str) -> None:
    found: Any = schemas("agent", compiled(Report, context_schema=Report))[kind]  # type: ignore[literal-required]
    assert set(found["properties"]) == {"sources", "best", "by_name"}
    assert found["required"] == ["sources"]
    assert (set(found["$defs"]["Source"]["properties"]), found["$defs"]["Source"]["required"]) == ({"title", "page"}, ["title"])


def test_a_record_may_be_part_of_itself() -> None:
    found: Any = schemas("agent", compiled(Tree))["input_schema"]
    assert found["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_type_without_a_schema_gives_null_and_the_others_stay() -> None:
    found = schemas("agent", compiled(context_schema=OddContext))
    assert found["context_schema"] is None
    assert found["input_schema"] is not None


async def test_a_drawing_has_nodes_and_edges() -> None:
    drawn = await drawing(compiled())
    assert [node["id"] for node in drawn["nodes"]] == ["__start__", "work", "__end__"]
    assert {"source": "__start__", "target": "work"} in drawn["edges"]


async def test_xray_opens_subgraphs() -> None:
    assert "inner" in [node["id"] for node in (await drawing(parent()))["nodes"]]
    assert any("work" in node["id"] for node in (await drawing(parent(), xray=True))["nodes"])


async def test_subgraphs_are_found_by_namespace() -> None:
    assert list(await subgraph_schemas(parent())) == ["inner"]
    assert list(await subgraph_schemas(parent(), "inner")) == ["inner"]
    with pytest.raises(NotFound):
        await subgraph_schemas(parent(), "absent")
