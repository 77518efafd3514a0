"""What a client calls context, as the type a graph declares for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from freehold.graphs.loader import AnyGraph


def context_of(graph: AnyGraph, given: Any) -> Any:
    """The context to run a graph with: for a dataclass or a pydantic model only keys it has, for others all that was given.

    Clients give a graph's settings in `configurable` too, with keys meant for others; LangGraph would raise a TypeError. Where nothing
    is given the type's own defaults count, if it has one for each field.
    """
    schema = graph.context_schema
    if not isinstance(schema, type) or not isinstance(given, Mapping | None):
        return given
    if issubclass(schema, BaseModel):
        known = {name for key, item in schema.model_fields.items() for name in (key, item.alias) if name}
        known |= set(given or ()) if schema.model_config.get("extra") == "allow" else set()
    elif is_dataclass(schema):
        known = {item.name for item in fields(schema) if item.init}
    else:
        return given
    kept = {key: value for key, value in (given or {}).items() if key in known}
    return kept if kept or _has_defaults(schema) else None


def _has_defaults(schema: type) -> bool:
    try:
        schema()
    except (TypeError, ValueError):  # a field without a default
        return False
    return True
