"""Threads whose time is over: removed, or cut down to their latest state, a batch at a time.

As in `retention`, nothing is taken from under a run: a batch locks its threads as accepting a run does and passes over those that
have one. Several workers may sweep at once; each takes what the others have not locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from freehold.storage import queries
from freehold.storage.checkpointer.upkeep import delete_threads_within, prune_within
from freehold.storage.pool import Pool, connection

SQL = queries.load("expiry")


@dataclass(frozen=True)
class Swept:
    """What one batch did, in threads."""

    deleted: int = 0
    cut: int = 0

    @property
    def threads(self) -> int:
        return self.deleted + self.cut


class Expiry:
    """Statements on threads that have a time to live."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sweep(self, limit: int) -> Swept:
        """Take up to `limit` threads whose time is over, in a transaction of its own."""
        async with connection(self._pool) as conn, conn.transaction():
            rows = await (await conn.execute(SQL["expired"], {"limit": limit})).fetchall()
            if not rows:
                return Swept()
            # In a statement of its own: it sees runs that were accepted in the moment before the lock was taken.
            busy = await (await conn.execute(SQL["active_of"], {"threads": [row["thread_id"] for row in rows]})).fetchall()
            active = {row["thread_id"] for row in busy}
            going = [row["thread_id"] for row in rows if row["ttl_strategy"] == "delete" and row["thread_id"] not in active]
            staying = [row["thread_id"] for row in rows if row["ttl_strategy"] == "keep_latest" and row["thread_id"] not in active]
            if going:
                await delete_threads_within(conn, _names(going))
                await conn.execute(SQL["delete_threads"], {"threads": going})
            if staying:
                await prune_within(conn, _names(staying), before=None)
                await conn.execute(SQL["renew"], {"threads": staying})
            return Swept(len(going), len(staying))


def _names(threads: list[UUID]) -> list[str]:
    return [str(thread_id) for thread_id in threads]
