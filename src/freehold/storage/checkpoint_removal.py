"""Checkpoints that go with their thread or their run: every statement on checkpoint tables outside the checkpointer.

Each takes the connection of the transaction that removes the thread or the run, so that neither is left without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow


async def remove_with_threads(conn: AsyncConnection[DictRow], thread_ids: Sequence[UUID]) -> None:
    """Everything the threads' graphs have stored."""
    gone = [str(thread_id) for thread_id in thread_ids]
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        await conn.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)".encode(), (gone,))  # noqa: S608 - constant names


async def remove_with_run(conn: AsyncConnection[DictRow], thread_id: UUID, run_id: UUID) -> None:
    """What one run has stored; the newest checkpoint before it is the thread's newest again."""
    thread, wrote = str(thread_id), str(run_id)
    await conn.execute("DELETE FROM checkpoints WHERE thread_id = %s AND metadata->>'run_id' = %s", (thread, wrote))
    await conn.execute(
        "DELETE FROM checkpoint_writes w WHERE thread_id = %s AND NOT EXISTS (SELECT FROM checkpoints c "
        "WHERE c.thread_id = w.thread_id AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)",
        (thread,),
    )
