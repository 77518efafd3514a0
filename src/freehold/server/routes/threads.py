"""Threads: create, search, count, get, patch, delete."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from freehold.core.errors import NotSupported
from freehold.server.auth import ThreadChanger, ThreadCreator, ThreadDeleter, ThreadReader, ThreadSearcher
from freehold.server.json_body import JsonRoute
from freehold.server.parts import Parts
from freehold.server.reply import nothing, page, reply
from freehold.server.wire.threads import ThreadCount, ThreadCreate, ThreadPatch, ThreadSearch, ThreadShown, shown

router = APIRouter(prefix="/threads", route_class=JsonRoute, tags=["threads"])


@router.post("", response_model=ThreadShown)
async def create(caller: ThreadCreator, parts: Parts, body: ThreadCreate | None = None) -> Response:
    """A new thread."""
    body = body or ThreadCreate()
    thread = await parts.threads.create(caller, thread_id=body.thread_id, metadata=body.all_metadata(), if_exists=body.if_exists)
    return reply(shown(thread))


@router.post("/search", response_model=list[ThreadShown])
async def search(caller: ThreadSearcher, parts: Parts, body: ThreadSearch | None = None) -> Response:
    """Threads of the caller that match."""
    body = body or ThreadSearch()
    found, total = await parts.threads.search(caller, body.filter())
    return page([shown(thread, body.select) for thread in found], total, limit=body.limit, offset=body.offset)


@router.post("/count", response_model=int)
async def count(caller: ThreadSearcher, parts: Parts, body: ThreadCount | None = None) -> Response:
    """How many threads of the caller match."""
    _, total = await parts.threads.search(caller, (body or ThreadCount()).filter())
    return reply(total)


@router.get("/{thread_id}", response_model=ThreadShown)
async def get(
    thread_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    include: Annotated[list[Literal["ttl"]] | None, Query()] = None,
) -> Response:
    """One thread."""
    if include:
        raise NotSupported('"ttl" is not supported by this version', hint="threads stay until they are deleted")
    return reply(shown(await parts.threads.get(caller, thread_id)))


@router.patch("/{thread_id}", response_model=ThreadShown)
async def patch(thread_id: UUID, body: ThreadPatch, caller: ThreadChanger, parts: Parts) -> Response:
    """Merge metadata."""
    return reply(shown(await parts.threads.patch(caller, thread_id, body.metadata)))


@router.delete("/{thread_id}", status_code=204, response_model=None)
async def delete(thread_id: UUID, caller: ThreadDeleter, parts: Parts) -> Response:
    """Remove a thread with its runs and checkpoints."""
    await parts.threads.delete(caller, thread_id)
    return nothing()
