"""A transaction that looks like a pool: what a checkpointer writes within it is stored together with our rows or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.core.errors import StorageUnavailable
from freehold.storage.pool import Pool


class _Transaction:
    """Hands out its one connection, to one user at a time."""

    def __init__(self, conn: AsyncConnection[DictRow]) -> None:
        self._conn = conn
        self.connection_class = type(conn)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        async with self._lock:
            if self._conn.closed:  # another connection would write outside the transaction: nothing to be patient for
                raise StorageUnavailable("the database went away in the middle of a transaction", hint="try again")
            yield self._conn


def as_pool(conn: AsyncConnection[DictRow]) -> Pool:
    """A connection with an open transaction, for `create_checkpointer`. Transactions within become savepoints."""
    return cast(Pool, _Transaction(conn))
