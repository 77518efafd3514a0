"""Threads in Postgres: who owns a conversation, whether it is busy, and the values its last run left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import Conflict, NotFound
from freehold.core.ids import new_id
from freehold.storage import queries
from freehold.storage.checkpointer.stock import copy_stock_thread
from freehold.storage.checkpointer.upkeep import copy_thread_within, delete_threads_within, prune_within
from freehold.storage.lifetime import Strategy, TimeToLive, lifetime_arguments
from freehold.storage.pool import Pool, act_as_process, as_caller, rows_of, unstorable
from freehold.storage.transaction import as_pool

SQL = queries.load("threads")

ThreadStatus = Literal["idle", "busy", "interrupted", "error"]


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
    #: Minutes from when it was asked for until the thread is swept, how, and when that is; None: it stays.
    ttl_minutes: float | None = None
    ttl_strategy: Strategy | None = None
    expires_at: datetime | None = None


_FIELDS = tuple(field.name for field in fields(Thread))


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
        ttl: TimeToLive | None = None,
    ) -> Thread:
        """Raises Conflict where the id is taken (by anybody) and `if_exists` does not allow it."""
        async with as_caller(self._pool, caller) as conn:
            return (await _create(conn, caller, thread_id, metadata, if_exists, ttl))[0]

    @asynccontextmanager
    async def making(
        self,
        caller: Caller,
        *,
        thread_id: UUID | None,
        metadata: dict[str, Any] | None,
        if_exists: Literal["raise", "do_nothing"],
        ttl: TimeToLive | None,
    ) -> AsyncIterator[HeldThread]:
        """The same for a thread that begins with a state: it is there once the context has closed, with what was stored within."""
        async with as_caller(self._pool, caller) as conn:
            thread, is_new = await _create(conn, caller, thread_id, metadata, if_exists, ttl)
            await act_as_process(conn)
            yield HeldThread(thread, as_pool(conn), is_new=is_new)

    async def get(self, caller: Caller, thread_id: UUID) -> Thread:
        """Raises NotFound where the caller has no such thread."""
        rows = await rows_of(self._pool, caller, SQL["get"], {"thread_id": thread_id})
        if not rows:
            raise NotFound(f"Thread with ID {thread_id} not found")
        return thread_of(rows[0])

    async def patch(self, caller: Caller, thread_id: UUID, metadata: dict[str, Any], ttl: TimeToLive | None = None) -> Thread:
        """Merge metadata; with `ttl`, let it live so long from now. Raises NotFound."""
        arguments = {"thread_id": thread_id, "metadata": Jsonb(metadata), **lifetime_arguments(ttl)}
        try:
            rows = await rows_of(self._pool, caller, SQL["patch"], arguments)
        except psycopg.DataError as error:
            raise unstorable(error, "metadata") from error
        if not rows:
            raise NotFound(f"Thread with ID {thread_id} not found")
        return thread_of(rows[0])

    async def delete(self, caller: Caller, thread_id: UUID) -> None:
        """Remove a thread with its runs, crons and checkpoints; a run in progress loses its claim and stops. Raises NotFound."""
        async with as_caller(self._pool, caller) as conn:
            gone = await (await conn.execute(SQL["delete"], {"thread_id": thread_id, **caller.arguments()})).fetchone()
            if gone is None:
                raise NotFound(f"Thread with ID {thread_id} not found")
            await act_as_process(conn)
            await conn.execute(SQL["delete_crons"], {"threads": [thread_id]})
            await delete_threads_within(conn, [str(thread_id)])

    async def prune(self, caller: Caller, thread_ids: list[UUID], strategy: Strategy) -> int:
        """Remove threads, or all of their checkpoints but the newest; those with a run, and those of others, are passed over.

        Returns:
            How many threads were pruned.
        """
        async with as_caller(self._pool, caller) as conn:
            arguments = {"threads": thread_ids, **caller.arguments()}
            held = [row["thread_id"] for row in await (await conn.execute(SQL["hold_resting"], arguments)).fetchall()]
            # In a statement of its own: it sees runs that were accepted in the moment before the lock was taken.
            rows = await (await conn.execute(SQL["active_of"], {"threads": held})).fetchall()
            resting = [thread_id for thread_id in held if thread_id not in {row["thread_id"] for row in rows}]
            if not resting:
                return 0
            if strategy == "delete":
                await conn.execute(SQL["delete_several"], {"threads": resting, **caller.arguments()})
            await act_as_process(conn)
            names = [str(thread_id) for thread_id in resting]
            if strategy == "delete":
                await conn.execute(SQL["delete_crons"], {"threads": resting})
                await delete_threads_within(conn, names)
            else:
                await prune_within(conn, names, before=None)
            return len(resting)

    async def copy(self, caller: Caller, thread_id: UUID) -> Thread:
        """A new thread of the caller's with all that another has but its runs. Raises NotFound."""
        arguments = {"thread_id": thread_id, "copy_id": new_id(), **caller.arguments()}
        async with as_caller(self._pool, caller) as conn:
            # Held: pruning and rolling back wait, and what a run adds meanwhile is found after what refers to it.
            if await (await conn.execute(SQL["hold"], arguments)).fetchone() is None:
                raise NotFound(f"Thread with ID {thread_id} not found")
            row = await (await conn.execute(SQL["copy"], arguments)).fetchone()
            assert row is not None
            await act_as_process(conn)
            await copy_thread_within(conn, str(thread_id), str(row["thread_id"]))
            await copy_stock_thread(conn, str(thread_id), str(row["thread_id"]))
            for name in ("part_checkpoints", "part_writes"):
                await conn.execute(SQL[name], {"thread_id": thread_id, "copy": str(row["thread_id"])})
            return thread_of(row)

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
            thread = thread_of(row)
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
    #: It was made in this transaction.
    is_new: bool = False

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


async def _create(
    conn: AsyncConnection[DictRow],
    caller: Caller,
    thread_id: UUID | None,
    metadata: dict[str, Any] | None,
    if_exists: Literal["raise", "do_nothing"],
    ttl: TimeToLive | None,
) -> tuple[Thread, bool]:
    """A thread, and whether it is new."""
    arguments = {"thread_id": thread_id or new_id(), "metadata": Jsonb(metadata or {}), **lifetime_arguments(ttl), **caller.arguments()}
    try:
        row = await (await conn.execute(SQL["create"], arguments)).fetchone()
        is_new = row is not None
        if row is None and if_exists == "do_nothing":
            row = await (await conn.execute(SQL["get"], arguments)).fetchone()
    except psycopg.DataError as error:
        raise unstorable(error, "metadata") from error
    if row is None:
        raise Conflict(f"Thread with ID {thread_id} already exists", hint='choose another id, or pass if_exists="do_nothing"')
    return thread_of(row), is_new


def thread_of(row: DictRow) -> Thread:
    """A row of the threads table as a value."""
    return Thread(**{name: row[name] for name in _FIELDS})
