"""Assistants: one per graph, made by the system, and those that clients make, with their versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import APIRouter
from langchain_core.runnables import RunnableConfig
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.assistant import Assistant
from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.graphs import schemas
from freehold.graphs.loader import AnyGraph
from freehold.server import audit
from freehold.server.auth import AssistantReader, AssistantSearcher, Authentication, permit
from freehold.server.json_body import JsonRoute
from freehold.server.launch import check_graph, named_assistant
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import nothing, page, reply
from freehold.server.wire import assistants as wire
from freehold.server.wire.body import JsonObject

router = APIRouter(prefix="/assistants", route_class=JsonRoute, tags=["assistants"])

AssistantChanger = Annotated[Caller, permit("assistants", "update")]


@router.post("", response_model=wire.AssistantShown)
async def create(body: wire.AssistantCreate, caller: Annotated[Caller, permit("assistants", "create")], parts: Parts) -> Response:
    """A new assistant: a graph with settings."""
    new = body.new()
    check_graph(parts, new.graph_id)
    made = await parts.assistants.create(caller, new, if_exists=body.if_exists)
    audit.about(assistant_id=made.assistant_id)
    return reply(wire.shown(made))


@router.post("/search", response_model=list[wire.AssistantShown])
async def search(caller: AssistantSearcher, parts: Parts, body: wire.AssistantSearch | None = None) -> Response:
    """Assistants the caller may use."""
    body = body or wire.AssistantSearch()
    found, total = await parts.assistants.search(caller, body.filter(), loaded=list(parts.graphs.graphs))
    return page([wire.shown(assistant, body.select) for assistant in found], total, limit=body.limit, offset=body.offset)


@router.post("/count", response_model=int)
async def count(caller: AssistantSearcher, parts: Parts, body: wire.AssistantCount | None = None) -> Response:
    """How many assistants the caller may use."""
    return reply(await parts.assistants.count(caller, (body or wire.AssistantCount()).filter(), loaded=list(parts.graphs.graphs)))


@router.get("/{assistant_id}", response_model=wire.AssistantShown)
async def get(assistant_id: str, caller: AssistantReader, parts: Parts) -> Response:
    """One assistant, by its id or its graph's."""
    return reply(wire.shown(await _named(parts, caller, assistant_id)))


@router.patch("/{assistant_id}", response_model=wire.AssistantShown)
async def patch(assistant_id: str, body: wire.AssistantPatch, caller: AssistantChanger, parts: Parts) -> Response:
    """Make a new version; metadata is merged, what is left out stays."""
    wanted = named_assistant(parts, assistant_id)
    if body.graph_id is not None:
        check_graph(parts, body.graph_id)
    return reply(wire.shown(await parts.assistants.change(caller, wanted, body.change)))


@router.delete("/{assistant_id}", status_code=204, response_model=None)
async def delete(
    assistant_id: str,
    request: Request,
    caller: Annotated[Caller, permit("assistants", "delete")],
    parts: Parts,
    delete_threads: bool = False,
) -> Response:
    """Remove an assistant with its versions; with `delete_threads`, which takes the right to, also the threads that ran it last."""
    authentication = cast(Authentication, request.app.state.authentication)
    deleter = await authentication.permitted(request, "threads", "delete") if delete_threads else None
    await parts.assistants.delete(caller, named_assistant(parts, assistant_id), with_threads=deleter)
    return nothing()


@router.post("/{assistant_id}/versions", response_model=list[wire.AssistantVersionShown])
async def versions(assistant_id: str, caller: AssistantReader, parts: Parts, body: wire.VersionSearch | None = None) -> Response:
    """Versions of an assistant, newest first."""
    body = body or wire.VersionSearch()
    wanted = named_assistant(parts, assistant_id)
    found, total = await parts.assistants.versions(caller, wanted, metadata=body.metadata, limit=body.limit, offset=body.offset)
    return page([wire.version_shown(version) for version in found], total, limit=body.limit, offset=body.offset)


@router.post("/{assistant_id}/latest", response_model=wire.AssistantShown)
async def set_latest(assistant_id: str, body: wire.VersionChosen, caller: AssistantChanger, parts: Parts) -> Response:
    """Make an earlier version the current one."""
    wanted = named_assistant(parts, assistant_id)
    return reply(wire.shown(await parts.assistants.set_latest(caller, wanted, body.version)))


@router.get("/{assistant_id}/schemas", response_model=JsonObject)
async def get_schemas(assistant_id: str, caller: AssistantReader, parts: Parts) -> Response:
    """JSON schemas of input, output, state, config and context."""
    async with _graph(parts, caller, assistant_id) as (assistant, graph):
        return reply(schemas.schemas(assistant.graph_id, graph))


@router.get("/{assistant_id}/graph", response_model=JsonObject)
async def get_graph(assistant_id: str, caller: AssistantReader, parts: Parts, xray: str = "false") -> Response:
    """Nodes and edges; `xray` opens subgraphs, all of them or so many levels."""
    async with _graph(parts, caller, assistant_id) as (_, graph):
        return reply(await schemas.drawing(graph, _xray(xray)))


@router.get("/{assistant_id}/subgraphs", response_model=JsonObject)
@router.get("/{assistant_id}/subgraphs/{namespace}", response_model=JsonObject)
async def get_subgraphs(
    assistant_id: str, caller: AssistantReader, parts: Parts, namespace: str | None = None, recurse: bool = False
) -> Response:
    """Schemas of the subgraphs, by namespace."""
    async with _graph(parts, caller, assistant_id) as (_, graph):
        return reply(await schemas.subgraph_schemas(graph, namespace, recurse=recurse))


@asynccontextmanager
async def _graph(parts: ServerParts, caller: Caller, named: str) -> AsyncIterator[tuple[Assistant, AnyGraph]]:
    """An assistant and its graph: what a factory returns is decided by the assistant's own settings."""
    assistant = await _named(parts, caller, named)
    check_graph(parts, assistant.graph_id)
    async with parts.graphs.open(assistant.graph_id, _config(assistant), access="assistants.read", user=caller.user) as graph:
        yield assistant, graph


def _config(assistant: Assistant) -> RunnableConfig:
    configurable = {**assistant.config.get("configurable", {}), "graph_id": assistant.graph_id, "assistant_id": str(assistant.assistant_id)}
    return {"configurable": configurable}


async def _named(parts: ServerParts, caller: Caller, named: str) -> Assistant:
    return await parts.assistants.get(caller, named_assistant(parts, named))


def _xray(given: str) -> bool | int:
    """`true`, `false` or a depth, as the SDK sends it in the query."""
    if given.isdigit() and len(given) < 4:
        return int(given)
    if given.lower() in {"true", "false"}:
        return given.lower() == "true"
    raise InvalidRequest(f'xray: expected true, false or a depth, got "{given[:40]}"')
