"""What is done to whole threads: creating the tables, deleting, copying, pruning.

Messages and blobs go when no checkpoint and no write of their thread refers to them any more; each row says what it
refers to, so nothing is read or decoded for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import LiteralString

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.storage.checkpointer.codec import unpack
from freehold.storage.checkpointer.stock import delete_stock_threads
from freehold.storage.pool import Pool

Connection = AsyncConnection[DictRow]

_MIGRATION = "0003_checkpoints.sql"

#: Any constant of ours.
_LOCK = 0x66_7265_6563_6B

_TABLES: tuple[LiteralString, ...] = ("thread_checkpoints", "thread_writes", "thread_messages", "thread_blobs")

_COLUMNS: dict[LiteralString, LiteralString] = {
    "thread_writes": "checkpoint_ns, checkpoint_id, task_id, idx, task_path, run_id, writes, messages, blobs",
    "thread_messages": "position, type, message",
    "thread_blobs": "digest, type, value",
}

_UNUSED: tuple[LiteralString, ...] = (
    """DELETE FROM freehold.thread_messages WHERE thread_id = %(thread)s AND NOT position <@ COALESCE((
         SELECT range_agg(used.messages) FROM (
           SELECT messages FROM freehold.thread_checkpoints WHERE thread_id = %(thread)s
           UNION ALL SELECT messages FROM freehold.thread_writes WHERE thread_id = %(thread)s) used), '{}')""",
    """DELETE FROM freehold.thread_blobs WHERE thread_id = %(thread)s AND digest NOT IN (
         SELECT unnest(used.blobs) FROM (
           SELECT blobs FROM freehold.thread_checkpoints WHERE thread_id = %(thread)s AND blobs IS NOT NULL
           UNION ALL SELECT blobs FROM freehold.thread_writes WHERE thread_id = %(thread)s AND blobs IS NOT NULL) used)""",
)


async def create_tables(pool: Pool) -> None:
    """Create the checkpointer's tables where they are missing. In a Freehold stack the migrations have done it."""
    text = (files("freehold.storage") / "migrations" / _MIGRATION).read_text(encoding="utf-8")
    async with pool.connection() as conn, conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        row = await (await conn.execute("SELECT to_regclass('freehold.thread_checkpoints') IS NOT NULL AS found")).fetchone()
        if row and not row["found"]:
            await conn.execute("CREATE SCHEMA IF NOT EXISTS freehold")
            await conn.execute(text.encode())


async def delete_threads(pool: Pool, thread_ids: Sequence[str]) -> None:
    """Remove all that is stored of threads."""
    async with pool.connection() as conn, conn.transaction():
        await delete_threads_within(conn, thread_ids)


async def delete_threads_within(conn: Connection, thread_ids: Sequence[str]) -> None:
    """The same, in a transaction of the caller's; what the stock saver stored goes with it."""
    await delete_stock_threads(conn, thread_ids)
    for table in _TABLES:
        await conn.execute(f"DELETE FROM freehold.{table} WHERE thread_id = ANY(%s)".encode(), (list(thread_ids),))  # noqa: S608


async def delete_for_runs(conn: Connection, run_ids: Sequence[str]) -> None:
    """Remove runs' checkpoints, and the writes they left anywhere, in a transaction of the caller's."""
    runs = list(run_ids)
    gone = await (
        await conn.execute(
            "DELETE FROM freehold.thread_checkpoints WHERE metadata ? 'run_id' AND metadata->>'run_id' = ANY(%s)"
            " RETURNING thread_id, checkpoint_ns, checkpoint_id",
            (runs,),
        )
    ).fetchall()
    left = await (await conn.execute("DELETE FROM freehold.thread_writes WHERE run_id = ANY(%s) RETURNING thread_id", (runs,))).fetchall()
    if gone:
        await conn.execute(
            "DELETE FROM freehold.thread_writes w USING unnest(%s::text[], %s::text[], %s::text[]) AS gone (thread, ns, id)"
            " WHERE w.thread_id = gone.thread AND w.checkpoint_ns = gone.ns AND w.checkpoint_id = gone.id",
            tuple([row[name] for row in gone] for name in ("thread_id", "checkpoint_ns", "checkpoint_id")),
        )
    for thread_id in {row["thread_id"] for row in (*gone, *left)}:
        await _delete_unused(conn, thread_id)


async def copy_thread(pool: Pool, source: str, target: str) -> None:
    """Copy all checkpoints of a thread, with what they refer to, to a thread that has none."""
    async with pool.connection() as conn, conn.transaction():
        await conn.execute(
            "INSERT INTO freehold.thread_checkpoints"
            " SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_id, state,"
            " CASE WHEN metadata->>'thread_id' = %(source)s THEN jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::text))"
            " ELSE metadata END, messages, blobs FROM freehold.thread_checkpoints WHERE thread_id = %(source)s",
            {"source": source, "target": target},
        )
        for table, columns in _COLUMNS.items():
            await conn.execute(
                f"INSERT INTO freehold.{table} (thread_id, {columns})"  # noqa: S608 - constant names
                f" SELECT %s, {columns} FROM freehold.{table} WHERE thread_id = %s".encode(),
                (target, source),
            )


async def keep_latest(pool: Pool, thread_id: str) -> None:
    """Remove all but the newest checkpoint of each namespace, and what delta channels need to be rebuilt.

    The namespace of a subgraph's call goes with the checkpoint it was called from.
    """
    async with pool.connection() as conn, conn.transaction():
        await keep_latest_within(conn, thread_id)


async def keep_latest_within(conn: Connection, thread_id: str) -> None:
    """The same, in a transaction of the caller's."""
    heads = await (
        await conn.execute(
            "SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id, metadata->'parents'->>'' AS root"
            " FROM freehold.thread_checkpoints WHERE thread_id = %s ORDER BY checkpoint_ns, checkpoint_id DESC",
            (thread_id,),
        )
    ).fetchall()
    kept = {head["checkpoint_ns"]: await _needed(conn, thread_id, head["checkpoint_ns"], head["checkpoint_id"]) for head in heads}
    calls = [head for head in heads if ":" in head["checkpoint_ns"] and head["root"] and head["root"] not in kept.get("", [])]
    for head in calls:
        if await _exists(conn, thread_id, head["root"]):
            kept[head["checkpoint_ns"]] = []
    for ns, ids in kept.items():
        for table in ("thread_checkpoints", "thread_writes"):
            await conn.execute(
                f"DELETE FROM freehold.{table} WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id <> ALL(%s)".encode(),  # noqa: S608
                (thread_id, ns, ids),
            )
        await conn.execute(
            "UPDATE freehold.thread_checkpoints SET parent_id = NULL WHERE thread_id = %s AND checkpoint_ns = %s AND parent_id <> ALL(%s)",
            (thread_id, ns, ids),
        )
    await _delete_unused(conn, thread_id)


async def _exists(conn: Connection, thread_id: str, checkpoint_id: str) -> bool:
    cursor = await conn.execute(
        "SELECT FROM freehold.thread_checkpoints WHERE thread_id = %s AND checkpoint_ns = '' AND checkpoint_id = %s",
        (thread_id, checkpoint_id),
    )
    return await cursor.fetchone() is not None


async def _needed(conn: Connection, thread_id: str, ns: str, head: str) -> list[str]:
    """A checkpoint and those of its ancestors its delta channels are rebuilt from."""
    needed: list[str] = []
    missing: set[str] | None = None
    current: str | None = head
    while current:
        row = await (
            await conn.execute(
                "SELECT parent_id, state, metadata->'counters_since_delta_snapshot' AS counters FROM freehold.thread_checkpoints"
                " WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s",
                (thread_id, ns, current),
            )
        ).fetchone()
        if row is None:
            break
        needed.append(current)
        missing = (set(row["counters"] or ()) if missing is None else missing) - unpack(row["state"])["values"].keys()
        current = row["parent_id"] if missing else None
    return needed


async def _delete_unused(conn: Connection, thread_id: str) -> None:
    for statement in _UNUSED:
        await conn.execute(statement, {"thread": thread_id})
