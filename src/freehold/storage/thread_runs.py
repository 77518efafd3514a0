"""The runs of one thread as those who watch the thread see them: what is under way, and what ended since they last looked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.run import Run
from freehold.storage import queries
from freehold.storage.pool import Pool, connection, rows_of
from freehold.storage.runs import run_of

SQL = queries.load("thread_runs")

#: Runs of one thread that are looked at together; of more, the oldest.
MOST_RUNS = 100


@dataclass(frozen=True)
class Watched:
    """A run, seconds since it was accepted, and whether it may begin now, by the database's clock."""

    run: Run
    age_seconds: float
    is_due: bool


class ThreadRuns:
    """Statements on runs by their thread."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_thread(self, caller: Caller, thread_id: UUID, *, since: datetime) -> list[Watched]:
        """Runs that have not ended, and those that ended after a moment, in the order they began; those that have not yet come last.

        Raises:
            NotFound: the caller has no such thread.
        """
        arguments = {"thread_id": thread_id, "since": since, "limit": MOST_RUNS}
        rows = await rows_of(self._pool, caller, SQL["of_thread"], arguments)
        if not rows:
            raise NotFound(f"Thread with ID {thread_id} not found")
        return [Watched(run_of(row), row["age_seconds"], row["is_due"]) for row in rows if row["run_id"]]

    async def with_news(self, thread_ids: Collection[UUID], *, seconds: float) -> list[UUID]:
        """Those with a run that is active or was so many seconds ago, and those that are gone; for those authorised to watch them."""
        async with connection(self._pool) as conn:
            found = await conn.execute(SQL["news"], {"thread_ids": list(thread_ids), "seconds": seconds}, prepare=True)
            return [row["thread_id"] for row in await found.fetchall()]

    async def clock(self) -> datetime:
        """The time, as the database has it."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["clock"], prepare=True)).fetchone()
        assert row is not None
        now: datetime = row["now"]
        return now
