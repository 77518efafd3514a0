"""What a graph takes and gives, and how it looks, in the shapes LangGraph clients expect."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from langgraph.pregel import Pregel
from langgraph_sdk.schema import GraphSchema
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from freehold.core.errors import NotFound
from freehold.graphs.loader import AnyGraph

#: What pydantic raises for a state type that has no JSON schema, such as a class of the user's own.
_NO_SCHEMA = (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError, TypeError, ValueError, NameError)


def schemas(graph_id: str, graph: AnyGraph) -> GraphSchema:
    """The five JSON schemas of a graph; null where a type has none."""
    return {
        "graph_id": graph_id,
        "input_schema": _or_none(lambda: _declared(graph, "input_schema", graph.get_input_jsonschema)),
        "output_schema": _or_none(lambda: _declared(graph, "output_schema", graph.get_output_jsonschema)),
        "state_schema": _or_none(lambda: _state(graph)),
        "config_schema": _or_none(lambda: _config(graph)),
        "context_schema": _or_none(lambda: _context(graph)),
    }


async def subgraph_schemas(graph: AnyGraph, namespace: str | None = None, *, recurse: bool = False) -> dict[str, GraphSchema]:
    """Schemas of the subgraphs by namespace, e.g. `{"research": {...}}`.

    Raises:
        NotFound: `namespace` names no subgraph.
    """
    subgraphs = [pair async for pair in graph.aget_subgraphs(namespace=namespace, recurse=recurse)]
    found = {name: schemas(name, sub) for name, sub in subgraphs if isinstance(sub, Pregel)}  # a RemoteGraph keeps its schemas
    if namespace is not None and not found:
        raise NotFound(f'no subgraph "{namespace}"')
    return found


async def drawing(graph: AnyGraph, xray: bool | int = False) -> dict[str, list[dict[str, Any]]]:
    """Nodes and edges, e.g. `{"nodes": [{"id": "model", "type": "runnable", ...}], "edges": [{"source": "model", ...}]}`.

    `xray` opens subgraphs: all of them, or so many levels.
    """
    return (await graph.aget_graph(xray=xray)).to_json()


def _declared(graph: AnyGraph, attribute: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return make()
    except PydanticUserError:  # a typing.TypedDict before Python 3.12, see _for_pydantic
        if (builder := getattr(graph, "builder", None)) is None:
            raise
        return TypeAdapter(_for_pydantic(getattr(builder, attribute))).json_schema()


def _state(graph: AnyGraph) -> dict[str, Any]:
    builder = getattr(graph, "builder", None)
    schema = getattr(builder, "state_schema", None)
    if schema is None:
        return graph.get_output_jsonschema()
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    return TypeAdapter(_for_pydantic(schema)).json_schema()


def _context(graph: AnyGraph) -> dict[str, Any] | None:
    schema = graph.context_schema
    return None if schema is None else TypeAdapter(_for_pydantic(schema)).json_schema()


def _for_pydantic(schema: Any) -> Any:
    """Before Python 3.12 pydantic refuses a `typing.TypedDict`, which graphs commonly use; rebuild it as one it takes."""
    return schema if sys.version_info >= (3, 12) else _rebuilt(schema, {})


def _rebuilt(hint: Any, done: dict[Any, Any]) -> Any:
    """The same type with every TypedDict in it rebuilt; `done` knows them already, since a type may be part of itself."""
    if is_typeddict(hint):
        return done[hint] if hint in done else _rebuilt_record(hint, done)
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:  # its arguments may be anything, also what cannot be hashed
        inner = _rebuilt(arguments[0], done)
        return hint if inner is arguments[0] else Annotated.__class_getitem__((inner, *hint.__metadata__))
    rebuilt = tuple(_rebuilt(argument, done) for argument in arguments)
    if all(new is old for new, old in zip(rebuilt, arguments, strict=True)):
        return hint
    origin = Union if isinstance(hint, UnionType) else get_origin(hint)
    return origin[rebuilt if len(rebuilt) > 1 else rebuilt[0]]


def _rebuilt_record(schema: Any, done: dict[Any, Any]) -> Any:
    new = done[schema] = TypedDict(schema.__name__, {})  # type: ignore[operator]
    new.__doc__ = schema.__doc__
    new.__required_keys__, new.__optional_keys__ = schema.__required_keys__, schema.__optional_keys__
    new.__annotations__ = {name: _rebuilt(hint, done) for name, hint in get_type_hints(schema, include_extras=True).items()}
    return new


def _config(graph: AnyGraph) -> dict[str, Any]:
    """What `config.configurable` may hold: since LangGraph 1.0 the same type as the context."""
    return _context(graph) or {"title": graph.get_name("Configurable"), "type": "object", "properties": {}}


def _or_none(make: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        return make()
    except _NO_SCHEMA:
        return None
