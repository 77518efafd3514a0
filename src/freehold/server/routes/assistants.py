"""Assistants: for now one per graph, made by the system."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.errors import InvalidRequest
from freehold.graphs import schemas
from freehold.server.auth import AssistantReader, AssistantSearcher
from freehold.server.json_body import JsonRoute
from freehold.server.launch import find_assistant
from freehold.server.parts import Parts
from freehold.server.reply import page, reply
from freehold.server.wire.assistants import AssistantCount, AssistantSearch, AssistantShown, shown
from freehold.server.wire.body import JsonObject

router = APIRouter(prefix="/assistants", route_class=JsonRoute, tags=["assistants"])


@router.post("/search", response_model=list[AssistantShown])
async def search(caller: AssistantSearcher, parts: Parts, body: AssistantSearch | None = None) -> Response:
    """Assistants the caller may use."""
    body = body or AssistantSearch()
    found, total = await parts.assistants.search(caller, body.filter(), loaded=list(parts.graphs.graphs))
    return page([shown(assistant, body.select) for assistant in found], total, limit=body.limit, offset=body.offset)


@router.post("/count", response_model=int)
async def count(caller: AssistantSearcher, parts: Parts, body: AssistantCount | None = None) -> Response:
    """How many assistants the caller may use."""
    _, total = await parts.assistants.search(caller, (body or AssistantCount()).filter(), loaded=list(parts.graphs.graphs))
    return reply(total)


@router.get("/{assistant_id}", response_model=AssistantShown)
async def get(assistant_id: str, caller: AssistantReader, parts: Parts) -> Response:
    """One assistant, by its id or its graph's."""
    wanted, _ = await find_assistant(parts, caller, assistant_id)
    return reply(shown(await parts.assistants.get(caller, wanted)))


@router.get("/{assistant_id}/schemas", response_model=JsonObject)
async def get_schemas(assistant_id: str, caller: AssistantReader, parts: Parts) -> Response:
    """JSON schemas of input, output, state, config and context."""
    _, graph_id = await find_assistant(parts, caller, assistant_id)
    async with parts.graphs.open(graph_id, {"configurable": {}}, access="assistants.read") as graph:
        return reply(schemas.schemas(graph_id, graph))


@router.get("/{assistant_id}/graph", response_model=JsonObject)
async def get_graph(assistant_id: str, caller: AssistantReader, parts: Parts, xray: str = "false") -> Response:
    """Nodes and edges; `xray` opens subgraphs, all of them or so many levels."""
    _, graph_id = await find_assistant(parts, caller, assistant_id)
    async with parts.graphs.open(graph_id, {"configurable": {}}, access="assistants.read") as graph:
        return reply(await schemas.drawing(graph, _xray(xray)))


@router.get("/{assistant_id}/subgraphs", response_model=JsonObject)
@router.get("/{assistant_id}/subgraphs/{namespace}", response_model=JsonObject)
async def get_subgraphs(
    assistant_id: str,
    caller: AssistantReader,
    parts: Parts,
    namespace: str | None = None,
    recurse: bool = False,
) -> Response:
    """Schemas of the subgraphs, by namespace."""
    _, graph_id = await find_assistant(parts, caller, assistant_id)
    async with parts.graphs.open(graph_id, {"configurable": {}}, access="assistants.read") as graph:
        return reply(await schemas.subgraph_schemas(graph, namespace, recurse=recurse))


def _xray(given: str) -> bool | int:
    """`true`, `false` or a depth, as the SDK sends it in the query."""
    if given.isdigit() and len(given) < 4:
        return int(given)
    if given.lower() in {"true", "false"}:
        return given.lower() == "true"
    raise InvalidRequest(f'xray: expected true, false or a depth, got "{given[:40]}"')
