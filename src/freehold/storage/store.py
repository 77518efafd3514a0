"""LangGraph's long-term store over our pool, in our schema.

Its statements name their tables without a schema. The path to it is set within each transaction, in the same round trip: a setting of
the session would be lost in a connection pooler.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg import AsyncCursor
from psycopg.rows import DictRow

from freehold.storage.pool import SCHEMA


class PostgresStore(AsyncPostgresStore):
    """The stock store; its tables are made by `migrate`."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        # Always a pipeline: without BEGIN, its statements are one transaction.
        async with super()._cursor(pipeline=True) as cursor:
            await cursor.connection.execute("SELECT set_config('search_path', %s, true)", (f"{SCHEMA}, public",))
            yield cursor
