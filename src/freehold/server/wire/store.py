"""The store on the wire: namespaces as lists of labels, items as the SDKs read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from langgraph.store.base import Item, SearchItem
from pydantic import AfterValidator, BaseModel, Field, StrictBool

from freehold.server.wire.body import Body, JsonObject
from freehold.server.wire.threads import Limit, Offset
from freehold.storage.store.caller_store import MAX_TTL

#: Labels of a namespace at most.
MAX_DEPTH = 64

#: The first label that LangGraph keeps for itself.
RESERVED = "langgraph"


def _labels(given: list[str]) -> list[str]:
    for label in given:
        if not label:
            raise ValueError("a label of a namespace is empty")
        if "." in label:
            raise ValueError(f'the label "{label[:100]}" has a dot, which stands between labels')
        if "\0" in label:
            raise ValueError("a label has a NUL character, which cannot be stored")
    return given


def _writable(given: list[str]) -> list[str]:
    if given[0] == RESERVED:
        raise ValueError(f'namespaces that begin with "{RESERVED}" are reserved')
    return given


Namespace = Annotated[list[str], Field(max_length=MAX_DEPTH), AfterValidator(_labels)]
WritableNamespace = Annotated[list[str], Field(min_length=1, max_length=MAX_DEPTH), AfterValidator(_labels), AfterValidator(_writable)]
Key = Annotated[str, Field(min_length=1)]


class ItemPut(Body):
    """An item to keep, new or changed."""

    namespace: WritableNamespace
    key: Key
    value: JsonObject
    index: Literal[False] | Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=64)] | None = None
    """What is found by meaning: paths into the value, false for nothing, null for the server's default."""
    ttl: Annotated[float, Field(gt=0, le=MAX_TTL)] | None = None
    """Minutes until the item vanishes; null for the server's default."""


class ItemDelete(Body):
    """Which item to delete."""

    namespace: Namespace
    key: Key


class ItemSearch(Body):
    """Which items to find, in a namespace and all below it."""

    namespace_prefix: Namespace = Field(default_factory=list)
    filter: JsonObject | None = None
    """What the value must have: `{"kind": "note"}`, with $eq, $ne, $gt, $gte, $lt and $lte also `{"score": {"$gte": 3}}`."""
    query: Annotated[str, Field(max_length=100_000)] | None = None
    """Order by likeness to this text: by meaning where the server embeds items, else by words they share."""
    limit: Limit = 10
    offset: Offset = 0
    refresh_ttl: StrictBool | None = None
    """Whether the items found live anew; null for the server's default."""


class NamespaceSearch(Body):
    """Which namespaces to list; `*` in a pattern stands for any one label."""

    prefix: Namespace = Field(default_factory=list)
    suffix: Namespace = Field(default_factory=list)
    max_depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)] | None = None
    """Cut namespaces to so many labels."""
    limit: Limit = 100
    offset: Offset = 0


class ItemShown(BaseModel):
    """An item as clients see it."""

    namespace: list[str]
    key: str
    value: JsonObject
    created_at: datetime
    updated_at: datetime


class FoundShown(ItemShown):
    """An item that was searched for."""

    score: float | None


class ItemsShown(BaseModel):
    """What a search found."""

    items: list[FoundShown]


class NamespacesShown(BaseModel):
    """Namespaces that hold items."""

    namespaces: list[list[str]]


def shown(item: Item) -> dict[str, Any]:
    """An item as `ItemShown`, or `FoundShown` where it was searched for."""
    plain = {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }
    return {**plain, "score": item.score} if isinstance(item, SearchItem) else plain
