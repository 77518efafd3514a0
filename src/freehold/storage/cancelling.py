"""Stops many runs of a caller: set by set, a number of threads in a transaction, so that it holds no lock for long.

Threads are locked before their runs are looked at, in the order of their ids, as wherever several are locked: a run cannot end
meanwhile, and two callers who stop the same ones do not wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.core.caller import Caller
from freehold.core.run import CancelAction, RunStatus
from freehold.storage import queries
from freehold.storage.checkpointer.upkeep import delete_for_runs
from freehold.storage.pool import Pool, act_as_process, as_caller
from freehold.storage.webhooks import report_ends

SQL = queries.load("runs")

#: Threads whose runs are stopped in one transaction.
THREADS_AT_ONCE = 100


async def stop_many(
    pool: Pool, caller: Caller, statuses: Collection[RunStatus], action: CancelAction, of: tuple[UUID, Collection[UUID]] | None
) -> tuple[int, bool]:
    """See `Runs.cancel_many`."""
    arguments = {**caller.arguments(), "statuses": list(statuses), "action": action, "run_ids": list(of[1]) if of else None}
    if of:
        async with as_caller(pool, caller) as conn:
            return await _stop_on(conn, {**arguments, "thread_ids": [of[0]]})
    found, asked, behind = 0, False, UUID(int=0)
    while True:
        async with as_caller(pool, caller) as conn:
            looked_at = await _all(conn, "threads_to_stop", {**arguments, "behind": behind, "limit": THREADS_AT_ONCE})
            if not looked_at:
                return found, asked
            behind = looked_at[-1]["thread_id"]
            more, more_asked = await _stop_on(conn, {**arguments, "thread_ids": [row["thread_id"] for row in looked_at]})
            found, asked = found + more, asked or more_asked


async def _stop_on(conn: AsyncConnection[DictRow], arguments: dict[str, Any]) -> tuple[int, bool]:
    """Within a transaction: those nobody has begun end here, the others are asked to."""
    locked = await _all(conn, "lock_threads", arguments)
    arguments = {**arguments, "thread_ids": [row["thread_id"] for row in locked]}
    ended = await _all(conn, "remove_pending_of" if arguments["action"] == "rollback" else "cancel_unstarted_of", arguments)
    asked = await _all(conn, "ask_to_stop_of", arguments)
    if ended:
        await act_as_process(conn)
        await report_ends(conn, [row["run_id"] for row in ended])
        if arguments["action"] == "rollback":
            await delete_for_runs(conn, [str(row["run_id"]) for row in ended])
        for thread_id in {row["thread_id"] for row in ended}:
            if arguments["action"] == "rollback":
                await conn.execute(SQL["rewind_graph"], {"thread_id": thread_id}, prepare=True)
                await conn.execute(SQL["unset_graph"], {"thread_id": thread_id}, prepare=True)
            await conn.execute(SQL["settle_thread"], {"thread_id": thread_id}, prepare=True)
    return len(ended) + len(asked), bool(asked)


async def _all(conn: AsyncConnection[DictRow], name: str, arguments: dict[str, Any]) -> list[DictRow]:
    return await (await conn.execute(SQL[name], arguments, prepare=True)).fetchall()
