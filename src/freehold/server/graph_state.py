"""The state of a thread as its graph sees it: opened with a checkpointer that reads for anybody authorised, fenced by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import AccessContext

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.run import graph_keys
from freehold.server.parts import ServerParts
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.pool import Pool
from freehold.storage.threads import Thread

Graph = Pregel[Any, Any, Any, Any]

#: Parts of `config.configurable` that name a checkpoint.
CHECKPOINT_KEYS = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")


def graph_id_of(thread: Thread) -> str | None:
    """The graph a thread belongs to since it was created for it or ran it; None for a thread that is still blank."""
    found = thread.metadata.get("graph_id")
    return found if isinstance(found, str) else None


def thread_config(thread: Thread, checkpoint: dict[str, Any] | None = None) -> RunnableConfig:
    """The config that addresses a thread's latest checkpoint, or a given one, with the settings of the thread's last run: a factory
    makes the graph that wrote it."""
    chosen = {key: checkpoint[key] for key in CHECKPOINT_KEYS if checkpoint and checkpoint.get(key) is not None}
    settings = graph_keys(thread.config.get("configurable") or {})
    configurable = {**settings, "thread_id": str(thread.thread_id), "checkpoint_ns": "", "graph_id": graph_id_of(thread), **chosen}
    return {"configurable": configurable}


@asynccontextmanager
async def opened(
    parts: ServerParts, caller: Caller, thread: Thread, graph_id: str, access: AccessContext, *, pool: Pool | None = None
) -> AsyncIterator[Graph]:
    """The thread's graph with its checkpoints, by way of `pool` where one is given; a factory is told the caller's user.

    Entering raises NotFound or GraphError where the graph is not served any more.
    """
    async with parts.graphs.open(graph_id, thread_config(thread), access=access, store=parts.stores.of(caller), user=caller.user) as bare:
        yield bare.copy(update={"checkpointer": create_checkpointer(pool or parts.pool, revives=parts.graphs.revives)})


async def current_values(parts: ServerParts, caller: Caller, thread_id: UUID) -> bytes:
    """The values of the thread's last checkpoint as JSON, a run in progress included."""
    thread = await parts.threads.get(caller, thread_id)
    graph_id = graph_id_of(thread)
    if graph_id is None:
        return to_json(thread.values or {})
    async with opened(parts, caller, thread, graph_id, "threads.read") as graph:
        snapshot = await graph.aget_state(thread_config(thread))
    return to_json(snapshot.values)
