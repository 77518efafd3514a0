"""The floor: the graph of the benchmark in this process, with our saver or LangGraph's own. What a server adds is added to this."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.pool import create_pool

#: One node, no model: everything else a run costs is the engine's.
AGENT = """
from langgraph.graph import END, START, MessagesState, StateGraph

async def answer(state):
    return {"messages": [{"role": "assistant", "content": "done"}]}

graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()
"""

POOL_SIZE = 20


@asynccontextmanager
async def saver(kind: str, database_url: str, *, pool_size: int = POOL_SIZE) -> AsyncIterator[Any]:
    """ "ours" over our pool, or "stock" over a pool set up as its documentation says."""
    if kind == "ours":
        async with create_pool(database_url, max_size=pool_size, min_size=pool_size) as pool:
            yield create_checkpointer(pool)
        return
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    stock: AsyncConnectionPool[AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
        database_url, min_size=pool_size, max_size=pool_size, kwargs=options, open=False
    )
    async with stock:
        made = AsyncPostgresSaver(stock)
        await made.setup()
        yield made


@asynccontextmanager
async def opened(kind: str, database_url: str, agent: str = AGENT) -> AsyncIterator[Any]:
    """The graph of an agent's source with its saver."""
    scope: dict[str, Any] = {}
    exec(agent, scope)
    async with saver(kind, database_url) as checkpointer:
        yield scope["graph"].copy(update={"checkpointer": checkpointer})
