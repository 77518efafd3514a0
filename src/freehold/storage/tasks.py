"""A2A tasks in Postgres: a task is the run it began with, and the runs that went on with it after the agent had asked something.

The runs say so in their metadata: `a2a_context` is the conversation as the client named it, `a2a_task` the id of the first run, on the
runs after it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.run import Run
from freehold.storage import queries
from freehold.storage.pool import Pool, rows_of
from freehold.storage.runs import run_of

SQL = queries.load("tasks")

CONTEXT, TASK = "a2a_context", "a2a_task"


class Tasks:
    """All statements that look for tasks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def first(self, caller: Caller, task_id: UUID) -> Run:
        """The run a task began with. Raises NotFound where the caller has no such task."""
        rows = await rows_of(self._pool, caller, SQL["find"], {"run_id": task_id})
        run = run_of(rows[0]) if rows else None
        if run is None or CONTEXT not in run.metadata or TASK in run.metadata:
            raise NotFound(f"no task {task_id}")
        return run

    async def newest(self, caller: Caller, first: Run) -> Run:
        """The run that went on with it last; the first itself where none did."""
        rows = await rows_of(self._pool, caller, SQL["newest"], {"thread_id": first.thread_id, "task_id": str(first.run_id)})
        return run_of(rows[0]) if rows else first

    async def list(self, caller: Caller, assistant_id: UUID, *, context: str | None, limit: int, offset: int) -> tuple[list[Run], int]:
        """The first runs of tasks, newest first, and how many tasks there are."""
        arguments: dict[str, Any] = {"assistant_id": assistant_id, "context": context, "limit": limit, "offset": offset}
        rows = await rows_of(self._pool, caller, SQL["list"], arguments)
        return [run_of(row) for row in rows], rows[0]["total"] if rows else 0
