"""Removes what is old, a piece at a time: each piece is one short transaction over threads that it holds.

Nothing is removed under a run. A piece locks its threads as accepting and ending a run do, passes over those that are locked or
have a run, and so no run begins on them before it has ended. A run's checkpointer lives no longer than the run: what it knows of a
thread's stored messages was read after any piece before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Rollback
from psycopg.rows import DictRow

from freehold.storage import queries
from freehold.storage.checkpointer.upkeep import Removed, delete_threads_within, first_id_since, prune_within
from freehold.storage.pool import Pool, connection

SQL = queries.load("retention")

Connection = AsyncConnection[DictRow]

#: Threads a piece looks at, and checkpoints it removes at most: about a tenth of a second of work.
PAGE = 200
MOST_CHECKPOINTS = 1000

#: Seconds between two rounds of the shared job.
REST_SECONDS = 3600.0


@dataclass(frozen=True)
class Policy:
    """What is old enough to go.

    `whole_threads`: threads that nothing has happened on for so long go with everything. Otherwise checkpoints that old go, but
    each thread keeps the newest of each namespace, so that every conversation can go on.
    """

    older_than: timedelta
    whole_threads: bool = False

    @property
    def job(self) -> str:
        return "prune_threads" if self.whole_threads else "prune_checkpoints"


@dataclass(frozen=True)
class Piece:
    """What one piece did: rows removed, threads looked at, threads left alone because somebody uses them, and where to go on."""

    removed: Removed
    seen: int
    busy: int
    #: The last thread looked at; None: there are no more.
    after: UUID | None


class Retention:
    """All statements that remove what is old."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def before(self, policy: Policy) -> datetime:
        """What was made before this moment is old; on the database's clock."""
        async with connection(self._pool) as conn:
            return await _before(conn, policy)

    async def count(self) -> int:
        """All threads there are."""
        async with connection(self._pool) as conn:
            return int((await _row(conn, "count", {}))["threads"])

    async def size(self) -> int:
        """Bytes of the checkpoint tables. Removing rows makes room in them; the files shrink only when they are rewritten."""
        async with connection(self._pool) as conn:
            return int((await _row(conn, "size", {}))["bytes"])

    async def prune(self, policy: Policy, before: datetime, after: UUID | None, *, dry_run: bool = False) -> Piece:
        """The next piece after a thread, in a transaction of its own; with `dry_run` it is done, counted and undone."""
        limit = None if dry_run else MOST_CHECKPOINTS
        async with connection(self._pool) as conn:
            async with conn.transaction() as transaction:
                piece = await _prune(conn, policy, before, after, limit)
                if dry_run:
                    raise Rollback(transaction)
            return piece

    async def prune_shared(self, policy: Policy) -> Piece | None:
        """The next piece of the job that all workers share; None where it is not due, or another worker is at it."""
        async with connection(self._pool) as conn, conn.transaction():
            job = await (await conn.execute(SQL["take_job"], {"job": policy.job})).fetchone()
            if job is None:
                return None
            piece = await _prune(conn, policy, await _before(conn, policy), job["position"], MOST_CHECKPOINTS)
            await conn.execute(SQL["note_job"], {"job": policy.job, "after": piece.after, "rest_seconds": REST_SECONDS})
            return piece


async def _prune(conn: Connection, policy: Policy, before: datetime, after: UUID | None, limit: int | None) -> Piece:
    arguments: dict[str, Any] = {"after": after, "before": before, "first_id": first_id_since(before), "page": PAGE}
    found = await _row(conn, "untouched" if policy.whole_threads else "prunable", arguments)
    wanted = _as_many_as_fit(found["threads"], found["checkpoints"])
    held = await _hold(conn, wanted, before, untouched=policy.whole_threads)
    names = [str(thread_id) for thread_id in held]
    removed, more = Removed(), list[str]()
    if held and policy.whole_threads:
        removed = await delete_threads_within(conn, names)
        await conn.execute(SQL["delete_threads"], {"threads": list(held)})
    elif held:
        idle = [str(thread_id) for thread_id, is_idle in held.items() if is_idle]
        removed, more = await prune_within(conn, names, before=before, idle=idle, limit=limit)
    seen, following = _place(found["page"], found["threads"], wanted, UUID(more[0]) if more else None)
    return Piece(removed, seen, len(wanted) - len(held), following)


def _place(page: Sequence[UUID], found: Sequence[UUID], wanted: Sequence[UUID], again: UUID | None) -> tuple[int, UUID | None]:
    """How many threads are behind this piece, and the last of them; None where all are."""
    if again:  # it has more than a piece may remove
        return page.index(again), UUID(int=again.int - 1)
    if len(wanted) < len(found):
        return page.index(wanted[-1]) + 1, wanted[-1]
    return len(page), page[-1] if len(page) == PAGE else None


def _as_many_as_fit(threads: Sequence[UUID], checkpoints: Sequence[int]) -> Sequence[UUID]:
    """The first of these threads, with about as many checkpoints as a piece may remove; one at least."""
    total = 0
    for number, count in enumerate(checkpoints):
        total += count
        if number and total > MOST_CHECKPOINTS:
            return threads[:number]
    return threads


async def _hold(conn: Connection, threads: Sequence[UUID], before: datetime, *, untouched: bool) -> dict[UUID, bool]:
    """Lock threads for the rest of the transaction: those nobody uses, and whether their state is old."""
    if not threads:
        return {}
    locked = await (await conn.execute(SQL["hold_resting"], {"threads": list(threads), "before": before})).fetchall()
    # In a statement of its own: it sees runs that were accepted in the moment before the lock was taken.
    rows = await (await conn.execute(SQL["active_of"], {"threads": [row["thread_id"] for row in locked]})).fetchall()
    active = {row["thread_id"] for row in rows}
    return {row["thread_id"]: row["is_idle"] for row in locked if row["thread_id"] not in active and (row["is_untouched"] or not untouched)}


async def _before(conn: Connection, policy: Policy) -> datetime:
    moment: datetime = (await _row(conn, "before", {"older_than": policy.older_than}))["before"]
    return moment


async def _row(conn: Connection, name: str, arguments: dict[str, Any]) -> DictRow:
    row = await (await conn.execute(SQL[name], arguments)).fetchone()
    assert row is not None
    return row
