"""Threads: create, search, count, get, patch, delete, prune, copy, measure."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from langgraph.errors import InvalidUpdateError
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import InvalidRequest
from freehold.server import audit
from freehold.server.auth import permit
from freehold.server.graph_state import graph_id_of, opened, thread_config
from freehold.server.json_body import JsonRoute
from freehold.server.launch import default_ttl
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import nothing, page, reply
from freehold.server.wire import threads as wire
from freehold.server.wire.new_thread import Superstep, ThreadCreate
from freehold.server.wire.threads import Pruned, StorageShown, ThreadCount, ThreadPatch, ThreadPrune, ThreadSearch, ThreadShown, shown
from freehold.storage.thread_size import size_of
from freehold.storage.threads import HeldThread

router = APIRouter(prefix="/threads", route_class=JsonRoute, tags=["threads"])


@router.post("", response_model=ThreadShown)
async def create(caller: Annotated[Caller, permit("threads", "create")], parts: Parts, body: ThreadCreate | None = None) -> Response:
    """A new thread, with the state it begins with where `supersteps` give one."""
    body = body or ThreadCreate()
    ttl = body.ttl.plain() if body.ttl else default_ttl(parts)
    metadata = body.all_metadata()
    if not body.supersteps:
        thread = await parts.threads.create(caller, thread_id=body.thread_id, metadata=metadata, if_exists=body.if_exists, ttl=ttl)
        audit.about(thread_id=thread.thread_id)
        return reply(shown(thread))
    making = parts.threads.making(caller, thread_id=body.thread_id, metadata=metadata, if_exists=body.if_exists, ttl=ttl)
    async with making as held:
        if held.is_new:
            await _apply(parts, caller, held, body.supersteps)
    audit.about(thread_id=held.thread.thread_id)
    return reply(shown(await parts.threads.get(caller, held.thread.thread_id)))


@router.post("/search", response_model=list[ThreadShown])
async def search(caller: Annotated[Caller, permit("threads", "search")], parts: Parts, body: ThreadSearch | None = None) -> Response:
    """Threads of the caller that match. `X-Pagination-Total` counts all of them, up to 1000 behind the page."""
    body = body or ThreadSearch()
    found = await parts.thread_search.page(caller, body.filter())
    rows = [wire.found(thread, extracted, body) for thread, extracted in zip(found.threads, found.extracted, strict=True)]
    return page(rows, found.total, limit=body.limit, offset=body.offset)


@router.post("/count", response_model=int)
async def count(caller: Annotated[Caller, permit("threads", "search")], parts: Parts, body: ThreadCount | None = None) -> Response:
    """How many threads of the caller match."""
    return reply(await parts.thread_search.count(caller, (body or ThreadCount()).filter()))


@router.post("/prune", response_model=Pruned)
async def prune(body: ThreadPrune, caller: Annotated[Caller, permit("threads", "delete")], parts: Parts) -> Response:
    """Remove threads, or their older checkpoints. What has a run, or is somebody else's, is passed over and not counted."""
    audit.about(thread_ids=" ".join(str(thread_id) for thread_id in body.thread_ids))
    return reply({"pruned_count": await parts.threads.prune(caller, body.thread_ids, body.strategy)})


@router.get("/{thread_id}", response_model=ThreadShown)
async def get(
    thread_id: UUID,
    caller: Annotated[Caller, permit("threads", "read")],
    parts: Parts,
    include: Annotated[list[str] | None, Query(description="`ttl`: show the time to live too.")] = None,
) -> Response:
    """One thread."""
    names = {name.strip() for part in include or () for name in part.split(",") if name.strip()}
    if names - {"ttl"}:
        raise InvalidRequest(f"include: expected ttl, got {', '.join(sorted(names))[:100]}")
    thread = await parts.threads.get(caller, thread_id)
    return reply({**shown(thread), **(wire.lifetime(thread) if names else {})})


@router.patch("/{thread_id}", response_model=ThreadShown, responses={204: {"description": "done; asked for with Prefer"}})
async def patch(
    thread_id: UUID,
    body: ThreadPatch,
    caller: Annotated[Caller, permit("threads", "update")],
    parts: Parts,
    prefer: Annotated[str, Header(description="`return=minimal` answers 204 without a body.")] = "",
) -> Response:
    """Merge metadata; a new time to live counts from now."""
    thread = await parts.threads.patch(caller, thread_id, body.metadata, body.ttl.plain() if body.ttl else None)
    return nothing() if "return=minimal" in prefer.lower() else reply(shown(thread))


@router.delete("/{thread_id}", status_code=204, response_model=None)
async def delete(thread_id: UUID, caller: Annotated[Caller, permit("threads", "delete")], parts: Parts) -> Response:
    """Remove a thread with its runs and checkpoints."""
    await parts.threads.delete(caller, thread_id)
    return nothing()


@router.post("/{thread_id}/copy", response_model=ThreadShown, dependencies=[permit("threads", "create")])
async def copy(thread_id: UUID, caller: Annotated[Caller, permit("threads", "read")], parts: Parts) -> Response:
    """A new thread with the state, all checkpoints and the metadata of this one; from here on each goes its own way."""
    made = await parts.threads.copy(caller, thread_id)
    audit.about(copy_id=made.thread_id)
    return reply(shown(made))


@router.get("/{thread_id}/storage", response_model=StorageShown)
async def storage(thread_id: UUID, caller: Annotated[Caller, permit("threads", "read")], parts: Parts) -> Response:
    """Bytes the thread takes in the checkpoint tables. A message or a large value is stored, and counted, once for all checkpoints."""
    return reply(wire.storage(thread_id, await size_of(parts.pool, caller, thread_id)))


async def _apply(parts: ServerParts, caller: Caller, held: HeldThread, supersteps: list[Superstep]) -> None:
    """The state a thread begins with. Raises InvalidRequest where the graph does not take it; nothing is stored then."""
    thread = held.thread
    graph_id = graph_id_of(thread)
    if graph_id is None:
        raise InvalidRequest("supersteps: the thread has no graph", hint="pass graph_id too")
    steps = [[update.plain() for update in step.updates] for step in supersteps]
    async with opened(parts, caller, thread, graph_id, "threads.update", pool=held.pool) as graph:
        try:
            await graph.abulk_update_state(thread_config(thread), steps)
        except (InvalidUpdateError, ValueError) as error:
            raise InvalidRequest(f"supersteps: they cannot be applied: {error}") from error
        after = await graph.aget_state(thread_config(thread))
    interrupts = wire.interrupts_by_task(after)
    await held.set_state(values=to_json(after.values), interrupts=interrupts, paused=bool(interrupts or after.next))
