"""Threads that LangGraph's own Postgres saver stored (its 3.x tables): read, continued, copied and removed, never written.

Looked for in our schema, where an earlier version of Freehold kept them, and, by a saver that stands alone, in `public`. The tables
there of a server's database are another application's: no owner is known of their threads, so whoever makes a thread with such an
id would read it. A thread that goes on here keeps its old checkpoints there and gets the new ones in our tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.rows import DictRow, dict_row

from freehold.core.errors import Incompatible
from freehold.storage.pool import Pool, salt_of

_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")

#: Schemas with stock tables, by pool: asked once per process.
_SCHEMAS: WeakKeyDictionary[Pool, tuple[str, ...]] = WeakKeyDictionary()


class StockThreads:
    """The stock saver's threads in one database; costs nothing where there are none."""

    def __init__(self, pool: Pool, serde: SerializerProtocol) -> None:
        self._pool = pool
        self._serde = serde

    async def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """A stock checkpoint, or None."""
        for schema in await self._schemas():
            found = await self._reader(schema).aget_tuple(config)
            if found is not None:
                self._refuse_clear()
                return found
        return None

    async def list(
        self, config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None, limit: int | None
    ) -> AsyncIterator[CheckpointTuple]:
        """Stock checkpoints, newest first."""
        for schema in await self._schemas():
            async for found in self._reader(schema).alist(config, filter=filter, before=before, limit=limit):
                self._refuse_clear()
                yield found

    async def copy_thread(self, source: str, target: str) -> None:
        """Copy a thread within the stock tables."""
        for schema in await self._schemas():
            async with self._pool.connection() as conn, conn.transaction():
                await _copy(conn, schema, source, target)

    def _reader(self, schema: str) -> AsyncPostgresSaver:
        return _Reader(self._pool, self._serde, schema)

    def _refuse_clear(self) -> None:
        if isinstance(self._serde, EncryptedSerializer) or salt_of(self._pool):
            raise Incompatible(
                "this thread was stored by the stock saver, some of it in clear, but this checkpointer has a key",
                hint="continue it with a checkpointer without a key",
            )

    async def _schemas(self) -> tuple[str, ...]:
        if self._pool not in _SCHEMAS:
            async with self._pool.connection() as conn:
                _SCHEMAS[self._pool] = await find_stock_schemas(conn)
        return _SCHEMAS[self._pool]


async def delete_stock_threads(conn: AsyncConnection[DictRow], thread_ids: Sequence[str]) -> dict[str, int]:
    """Remove threads from the stock tables, in a transaction of the caller's; how many rows of each kind went."""
    counts: dict[str, int] = {}
    for schema in await find_stock_schemas(conn):
        for table in _TABLES:
            statement = sql.SQL("DELETE FROM {} WHERE thread_id = ANY(%s)").format(sql.Identifier(schema, table))
            _count(counts, table, await conn.execute(statement, (list(thread_ids),)))
    return counts


async def copy_stock_thread(conn: AsyncConnection[DictRow], source: str, target: str) -> None:
    """Copy a thread within the stock tables, in a transaction of the caller's."""
    for schema in await find_stock_schemas(conn):
        await _copy(conn, schema, source, target)


async def _copy(conn: AsyncConnection[DictRow], schema: str, source: str, target: str) -> None:
    for table in _TABLES:
        statement = sql.SQL(
            "INSERT INTO {name} SELECT (jsonb_populate_record(t, jsonb_build_object('thread_id', %s::text))).*"
            " FROM {name} t WHERE thread_id = %s ON CONFLICT DO NOTHING"
        ).format(name=sql.Identifier(schema, table))
        await conn.execute(statement, (target, source))


async def delete_stock_history(
    conn: AsyncConnection[DictRow], schemas: Sequence[str], thread_id: str, namespaces: Sequence[str], *, before: str | None
) -> dict[str, int]:
    """Remove what lies behind a thread that goes on in our tables, in a transaction of the caller's; how many rows of each kind went.

    Args:
        schemas: `find_stock_schemas`.
        namespaces: those that have a checkpoint of ours which needs none of the stock saver's.
        before: only namespaces whose stock checkpoints all have smaller ids; None: whatever their ids.
    """
    counts: dict[str, int] = {}
    for schema in schemas:
        checkpoints = sql.Identifier(schema, "checkpoints")
        past = sql.SQL(
            "SELECT checkpoint_ns FROM {} WHERE thread_id = %s AND checkpoint_ns = ANY(%s)"
            " GROUP BY checkpoint_ns HAVING %s::text IS NULL"
            " OR (max(checkpoint_id COLLATE \"C\") < %s AND bool_and(substr(checkpoint_id, 15, 1) = '6'))"
        ).format(checkpoints)
        rows = await (await conn.execute(past, (thread_id, list(namespaces), before, before))).fetchall()
        if not rows:
            continue
        for table in _TABLES:
            statement = sql.SQL("DELETE FROM {} WHERE thread_id = %s AND checkpoint_ns = ANY(%s)").format(sql.Identifier(schema, table))
            _count(counts, table, await conn.execute(statement, (thread_id, [row["checkpoint_ns"] for row in rows])))
    return counts


def _count(counts: dict[str, int], table: str, gone: AsyncCursor[DictRow]) -> None:
    name = table.removeprefix("checkpoint_")
    counts[name] = counts.get(name, 0) + gone.rowcount


async def find_stock_schemas(conn: AsyncConnection[DictRow]) -> tuple[str, ...]:
    """Schemas with stock tables we may read and delete from; where a server keeps its runs, only its own."""
    cursor = await conn.execute(
        "SELECT n.nspname::text AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'checkpoint_blobs' AND c.relkind = 'r' AND (n.nspname = 'freehold'"
        " OR n.nspname = 'public' AND NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'freehold' AND tablename = 'runs'))"
        " AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT, DELETE') ORDER BY 1"
    )
    return tuple(row["schema"] for row in await cursor.fetchall())


class _Reader(AsyncPostgresSaver):
    """The stock saver over one schema, without its process-wide lock."""

    def __init__(self, pool: Pool, serde: SerializerProtocol, schema: str) -> None:
        super().__init__(pool, serde=serde)
        self._pool = pool
        self._schema = schema

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        async with self._pool.connection() as conn, conn.transaction(), conn.cursor(binary=True, row_factory=dict_row) as cursor:
            await cursor.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self._schema)))
            yield cursor
