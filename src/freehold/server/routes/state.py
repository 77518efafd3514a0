"""The state of a thread: read it, at any checkpoint too, write it by hand, list what it was."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from langchain_core.runnables import RunnableConfig
from langgraph.errors import InvalidUpdateError
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import InvalidRequest, NotFound
from freehold.core.run import checkpoint_address
from freehold.server.auth import ThreadChanger, ThreadReader
from freehold.server.graph_state import graph_id_of, opened, thread_config
from freehold.server.json_body import JsonRoute
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import reply
from freehold.server.thread_stream import announce_state
from freehold.server.wire import threads as wire
from freehold.server.wire.body import JsonObject
from freehold.storage.threads import Thread

router = APIRouter(prefix="/threads/{thread_id}", route_class=JsonRoute, tags=["state"])


@router.get("/state", response_model=wire.StateShown)
async def get(
    thread_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    subgraphs: bool = False,
    select: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """The state as it is now."""
    return await _read(parts, caller, thread_id, None, subgraphs=subgraphs, select=wire.state_fields(select or []))


@router.post("/state/checkpoint", response_model=wire.StateShown)
async def get_at(thread_id: UUID, body: wire.StateAtCheckpoint, caller: ThreadReader, parts: Parts) -> Response:
    """The state at a checkpoint, in a subgraph too."""
    return await _read(parts, caller, thread_id, body.checkpoint.plain(), subgraphs=body.subgraphs, select=body.select)


@router.get("/state/{checkpoint_id}", response_model=wire.StateShown)
async def get_at_id(
    thread_id: UUID,
    checkpoint_id: wire.CheckpointId,
    caller: ThreadReader,
    parts: Parts,
    subgraphs: bool = False,
    select: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """The state at a checkpoint of the whole graph."""
    asked = wire.state_fields(select or [])
    return await _read(parts, caller, thread_id, {"checkpoint_id": checkpoint_id}, subgraphs=subgraphs, select=asked)


@router.post("/state", response_model=wire.StateUpdated)
async def update(thread_id: UUID, body: wire.StateUpdate, caller: ThreadChanger, parts: Parts) -> Response:
    """Write values as if a node had returned them."""
    async with parts.threads.hold(caller, thread_id) as held:
        thread = held.thread
        graph_id = graph_id_of(thread)
        if graph_id is None:
            raise InvalidRequest(f"thread {thread_id} has no graph yet", hint="create it with graph_id, or run something on it first")
        async with opened(parts, caller, thread, graph_id, "threads.update", pool=held.pool) as graph:
            try:
                made = await graph.aupdate_state(thread_config(thread, body.chosen()), body.values, as_node=body.as_node)
            except (InvalidUpdateError, ValueError) as error:
                raise InvalidRequest(f"the state cannot be updated like this: {error}") from error
            after = await graph.aget_state(thread_config(thread))
        interrupts = wire.interrupts_by_task(after)
        await held.set_state(values=to_json(after.values), interrupts=interrupts, paused=bool(interrupts or after.next))
    await announce_state(parts, thread_id, wire.state(after))
    address = checkpoint_address(made)
    return reply({"checkpoint": address, "configurable": address, "checkpoint_id": address["checkpoint_id"]})


@router.get("/history", response_model=list[wire.StateShown])
async def history(
    thread_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    limit: wire.Limit = 10,
    before: wire.CheckpointId | None = None,
    select: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """States of a thread, newest first."""
    return await _history(parts, caller, thread_id, wire.HistoryQuery(limit=limit, before=before, select=wire.state_fields(select or [])))


@router.post("/history", response_model=list[wire.StateShown])
async def search_history(thread_id: UUID, body: wire.HistoryQuery, caller: ThreadReader, parts: Parts) -> Response:
    """States of a thread that match, newest first."""
    return await _history(parts, caller, thread_id, body)


async def _read(
    parts: ServerParts, caller: Caller, thread_id: UUID, checkpoint: JsonObject | None, *, subgraphs: bool, select: list[str] | None
) -> Response:
    thread = await parts.threads.get(caller, thread_id)
    graph_id = graph_id_of(thread)
    if graph_id is None:
        return reply(wire.selected(wire.blank_state(thread), select))
    async with opened(parts, caller, thread, graph_id, "threads.read") as graph:
        snapshot = await graph.aget_state(thread_config(thread, checkpoint), subgraphs=subgraphs)
    if checkpoint and checkpoint.get("checkpoint_id") and snapshot.created_at is None:
        raise NotFound(f"thread {thread_id} has no checkpoint {str(checkpoint['checkpoint_id'])[:100]}")
    return reply(wire.selected(wire.state(snapshot), select))


async def _history(parts: ServerParts, caller: Caller, thread_id: UUID, query: wire.HistoryQuery) -> Response:
    thread = await parts.threads.get(caller, thread_id)
    graph_id = graph_id_of(thread)
    if graph_id is None:
        return reply([])
    config = thread_config(thread, query.checkpoint.plain() if query.checkpoint else None)
    before = _before(thread, query.before_config())
    async with opened(parts, caller, thread, graph_id, "threads.read") as graph:
        found = graph.aget_state_history(config, filter=query.metadata, before=before, limit=query.limit)
        return reply([wire.selected(wire.state(snapshot), query.select) async for snapshot in found])


def _before(thread: Thread, asked: JsonObject | None) -> RunnableConfig | None:
    return thread_config(thread, asked) if asked else None
