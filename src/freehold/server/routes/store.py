"""The long-term store: what graphs remember across threads, for clients to read and write. Everybody has their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from langgraph.store.base import NOT_PROVIDED
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.server import audit
from freehold.server.auth import permit
from freehold.server.json_body import JsonRoute
from freehold.server.parts import Parts
from freehold.server.reply import nothing, reply
from freehold.server.wire.store import (
    ItemDelete,
    ItemPut,
    ItemSearch,
    ItemShown,
    ItemsShown,
    Namespace,
    NamespaceSearch,
    NamespacesShown,
    shown,
)

router = APIRouter(prefix="/store", route_class=JsonRoute, tags=["store"])

_NAMESPACE: TypeAdapter[list[str]] = TypeAdapter(Namespace)


@router.put("/items", status_code=204)
async def put(body: ItemPut, caller: Annotated[Caller, permit("store", "put")], parts: Parts) -> Response:
    """Keep an item."""
    audit.about(namespace=".".join(body.namespace), key=body.key)
    ttl = NOT_PROVIDED if body.ttl is None else body.ttl
    await parts.stores.of(caller).aput(tuple(body.namespace), body.key, body.value, body.index, ttl=ttl)
    return nothing()


@router.get("/items", response_model=ItemShown | None)
async def get(
    request: Request,
    caller: Annotated[Caller, permit("store", "get")],
    parts: Parts,
    key: Annotated[str, Query(min_length=1)],
    namespace: str = "",
    refresh_ttl: bool | None = None,
) -> Response:
    """One item; null where there is none. The labels of `namespace` are joined by dots."""
    wanted = getattr(request.state, "namespace", None)  # what the project's rules made of it
    labels = _parsed(namespace.split(".") if namespace else []) if wanted is None else _parsed(wanted)
    item = await parts.stores.of(caller).aget(labels, key, refresh_ttl=refresh_ttl)
    return reply(None if item is None else shown(item))


@router.delete("/items", status_code=204)
async def delete(body: ItemDelete, caller: Annotated[Caller, permit("store", "delete")], parts: Parts) -> Response:
    """Forget an item; one that is not there is forgotten already."""
    audit.about(namespace=".".join(body.namespace), key=body.key)
    await parts.stores.of(caller).adelete(tuple(body.namespace), body.key)
    return nothing()


@router.post("/items/search", response_model=ItemsShown)
async def search(caller: Annotated[Caller, permit("store", "search")], parts: Parts, body: ItemSearch | None = None) -> Response:
    """Items of a namespace and all below it, by filter and by likeness to a text."""
    body = body or ItemSearch()
    found = await parts.stores.of(caller).asearch(
        tuple(body.namespace_prefix),
        query=body.query,
        filter=body.filter,
        limit=body.limit,
        offset=body.offset,
        refresh_ttl=body.refresh_ttl,
    )
    return reply({"items": [shown(item) for item in found]})


@router.post("/namespaces", response_model=NamespacesShown)
async def namespaces(
    caller: Annotated[Caller, permit("store", "list_namespaces")], parts: Parts, body: NamespaceSearch | None = None
) -> Response:
    """Namespaces that hold items."""
    body = body or NamespaceSearch()
    found = await parts.stores.of(caller).alist_namespaces(
        prefix=tuple(body.prefix), suffix=tuple(body.suffix), max_depth=body.max_depth, limit=body.limit, offset=body.offset
    )
    return reply({"namespaces": found})


def _parsed(given: object) -> tuple[str, ...]:
    try:
        return tuple(_NAMESPACE.validate_python(list(given) if isinstance(given, tuple) else given))
    except ValidationError as error:
        raise InvalidRequest(f"namespace: {error.errors()[0]['msg']}") from error
