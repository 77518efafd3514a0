"""Threads in Postgres: who owns a conversation, whether it is busy, and the values its last run left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import Conflict, InvalidRequest, NotFound
from freehold.core.ids import new_id
from freehold.storage import queries
from freehold.storage.checkpointer.upkeep import delete_threads_within
from freehold.storage.pool import Pool, act_as_process, as_caller, rows_of, unstorable
from freehold.storage.transaction import as_pool

SQL = queries.load("threads")

ThreadStatus = Literal["idle", "busy", "interrupted", "error"]

#: Columns a client may sort by.
SORT_COLUMNS = frozenset({"thread_id", "status", "created_at", "updated_at", "state_updated_at"})


@dataclass(frozen=True)
class Thread:
    """A row of the threads table."""

    thread_id: UUID
    organisation: str
    owner: str
    status: ThreadStatus
    metadata: dict[str, Any]
    config: dict[str, Any]
    values: dict[str, Any] | None
    interrupts: dict[str, Any]
    error: dict[str, Any] | None
    #: Made for a stateless run.
    temporary: bool
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    #: What `status` is once no run is active.
    status_at_rest: ThreadStatus


_FIELDS = tuple(field.name for field in fields(Thread))


@dataclass(frozen=True)
class ThreadFilter:
    """What to search for; None does not restrict."""

    metadata: dict[str, Any] | None = None
    values: dict[str, Any] | None = None
    status: ThreadStatus | None = None
    ids: list[UUID] | None = None
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: int = 10
    offset: int = 0


class Threads:
    """All statements on the threads table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self,
        caller: Caller,
        *,
        thread_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        if_exists: Literal["raise", "do_nothing"] = "raise",
    ) -> Thread:
        """Raises Conflict where the id is taken (by anybody) and `if_exists` does not allow it."""
        arguments = {"thread_id": thread_id or new_id(), "metadata": Jsonb(metadata or {}), **caller.arguments()}
        try:
            async with as_caller(self._pool, caller) as conn:
                row = await (await conn.execute(SQL["create"], arguments)).fetchone()
                if row is None and if_exists == "do_nothing":
                    row = await (await conn.execute(SQL["get"], arguments)).fetchone()
        except psycopg.DataError as error:
            raise unstorable(error, "metadata") from error
        if row is None:
            raise Conflict(f"Thread with ID {thread_id} already exists", hint='choose another id, or pass if_exists="do_nothing"')
        return _thread(row)

    async def get(self, caller: Caller, thread_id: UUID) -> Thread:
        """Raises NotFound where the caller has no such thread."""
        rows = await rows_of(self._pool, caller, SQL["get"], {"thread_id": thread_id})
        if not rows:
            raise NotFound(f"Thread with ID {thread_id} not found")
        return _thread(rows[0])

    async def patch(self, caller: Caller, thread_id: UUID, metadata: dict[str, Any]) -> Thread:
        """Merge metadata. Raises NotFound."""
        rows = await rows_of(self._pool, caller, SQL["patch"], {"thread_id": thread_id, "metadata": Jsonb(metadata)})
        if not rows:
            raise NotFound(f"Thread with ID {thread_id} not found")
        return _thread(rows[0])

    async def delete(self, caller: Caller, thread_id: UUID) -> None:
        """Remove a thread with its runs and checkpoints; a run in progress loses its claim and stops. Raises NotFound."""
        async with as_caller(self._pool, caller) as conn:
            gone = await (await conn.execute(SQL["delete"], {"thread_id": thread_id, **caller.arguments()})).fetchone()
            if gone is None:
                raise NotFound(f"Thread with ID {thread_id} not found")
            await act_as_process(conn)
            await delete_threads_within(conn, [str(thread_id)])

    async def search(self, caller: Caller, wanted: ThreadFilter) -> tuple[list[Thread], int]:
        """One page of threads and the number of all that match (0 where the page lies behind the end).

        Raises:
            InvalidRequest: `sort_by` is not a column clients may sort by.
        """
        if wanted.sort_by not in SORT_COLUMNS:
            raise InvalidRequest(f"sort_by: expected one of {', '.join(sorted(SORT_COLUMNS))}, got {wanted.sort_by!r}")
        statement = sql.SQL(SQL["search"]).format(
            sort_by=sql.Identifier(wanted.sort_by), sort_order=sql.SQL("ASC" if wanted.sort_order == "asc" else "DESC")
        )
        arguments = {
            **caller.arguments(),
            "metadata": Jsonb(wanted.metadata) if wanted.metadata else None,
            "values": Jsonb(wanted.values) if wanted.values else None,
            "status": wanted.status,
            "ids": wanted.ids,
            "limit": wanted.limit,
            "offset": wanted.offset,
        }
        async with as_caller(self._pool, caller) as conn:
            rows = await (await conn.execute(statement, arguments)).fetchall()
        total = rows[0]["total"] if rows else 0
        return [_thread(row) for row in rows], total

    @asynccontextmanager
    async def hold(self, caller: Caller, thread_id: UUID) -> AsyncIterator[HeldThread]:
        """A thread to change by hand: a run asked for meanwhile is accepted once the context has closed, with what it stored.

        What happens within is one transaction, undone where the context is left by an error.

        Raises:
            NotFound: the caller has no such thread.
            Conflict: a run is active on it.
            StorageUnavailable: the database went away, or found the transaction idle for longer than it allows.
        """
        async with as_caller(self._pool, caller) as conn:
            row = await (await conn.execute(SQL["hold"], {"thread_id": thread_id, **caller.arguments()})).fetchone()
            if row is None:
                raise NotFound(f"Thread with ID {thread_id} not found")
            thread = _thread(row)
            if thread.status == "busy":
                raise Conflict(f"thread {thread_id} is busy with a run", hint="wait for the run or cancel it, then update the state")
            await act_as_process(conn)
            yield HeldThread(thread, as_pool(conn))


@dataclass(frozen=True)
class HeldThread:
    """A thread nobody else changes for now."""

    thread: Thread
    #: For a checkpointer: what it stores becomes visible with everything else.
    pool: Pool

    async def set_state(self, *, values: bytes, interrupts: dict[str, Any], paused: bool) -> None:
        """Record what a state update by hand left; `values` is JSON."""
        arguments = {
            "thread_id": self.thread.thread_id,
            "values": values.decode(),
            "interrupts": to_json(interrupts).decode(),
            "status": "interrupted" if paused else "idle",
        }
        async with self.pool.connection() as conn:
            await conn.execute(SQL["set_state"], arguments)


def _thread(row: DictRow) -> Thread:
    return Thread(**{name: row[name] for name in _FIELDS})
