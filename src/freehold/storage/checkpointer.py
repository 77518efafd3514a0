"""LangGraph's Postgres saver as runs need it: no process-wide lock, fenced by the run's epoch, and patient with a restart.

The stock saver takes one lock around every operation of a process and lets any worker write. Here each operation has a
connection of its own, and a write of a run begins, in the same transaction, with `fence(run, epoch)`, which raises once
another worker holds the run. A lost connection is retried for a while: every write is an upsert, so repeating one is safe.

This is the seam for a checkpointer of our own: everything else asks `create_checkpointer` and knows only LangGraph's contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import AsyncCursor
from psycopg.rows import DictRow, dict_row

from freehold.core.errors import LeaseLost, StorageUnavailable
from freehold.storage.pool import Pool, is_away

#: How long a write or read waits for a database that went away, e.g. while it restarts.
PATIENCE_SECONDS = 45.0

#: SQLSTATE that `fence` raises with.
_FENCED = "FH001"

T = TypeVar("T")

# No pickle. Which types may be revived is LangGraph's strict list plus the graph's own state types, see
# `env.set_process_defaults`.
_SERDE = JsonPlusSerializer(pickle_fallback=False)


class Checkpointer(AsyncPostgresSaver):
    """A saver over a pool. With `fence` (run id, epoch) it writes only while that claim is the current one.

    Writes raise LeaseLost when it is not, StorageUnavailable when the database stayed away for `PATIENCE_SECONDS`.
    """

    def __init__(self, pool: Pool, *, fence: tuple[UUID, int] | None = None) -> None:
        super().__init__(pool, serde=_SERDE)
        self._pool = pool
        self._fence = fence

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """The one place the stock saver opens connections; `pipeline` is true for writes."""
        async with self._pool.connection() as conn:
            if not pipeline:
                async with conn.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor
                return
            async with conn.transaction(), conn.pipeline(), conn.cursor(binary=True, row_factory=dict_row) as cursor:
                if self._fence:
                    await cursor.execute("SELECT fence(%s, %s)", self._fence)
                yield cursor

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await _patiently(lambda: super(Checkpointer, self).aget_tuple(config))

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        return await _patiently(lambda: super(Checkpointer, self).aput(config, checkpoint, metadata, new_versions))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await _patiently(lambda: super(Checkpointer, self).aput_writes(config, writes, task_id, task_path))


def create_checkpointer(pool: Pool, *, run_id: UUID | None = None, epoch: int | None = None) -> Checkpointer:
    """The saver for one run (fenced), or for reading and hand-made updates (without run)."""
    fence = (run_id, epoch) if run_id is not None and epoch is not None else None
    return Checkpointer(pool, fence=fence)


async def _patiently(operation: Callable[[], Awaitable[T]]) -> T:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return await operation()
        except psycopg.Error as error:
            if getattr(error, "sqlstate", None) == _FENCED:
                raise LeaseLost(str(error).splitlines()[0]) from error
            if not is_away(error):
                raise
            if loop.time() + pause > give_up_at:
                raise StorageUnavailable(
                    f"checkpoints cannot be stored: {error}", hint="`freehold status` says whether the database is up"
                ) from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)
