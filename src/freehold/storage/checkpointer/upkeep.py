"""What is done to whole threads: creating the tables, deleting, copying, pruning.

Messages and blobs go when no checkpoint and no write of their thread refers to them any more; each row says what it
refers to, so nothing is read or decoded for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.storage.checkpointer.codec import unpack
from freehold.storage.checkpointer.statement import ASIDE
from freehold.storage.checkpointer.stock import delete_stock_history, delete_stock_threads, find_stock_schemas
from freehold.storage.pool import Pool

Connection = AsyncConnection[DictRow]

_MIGRATION = "0003_checkpoints.sql"

#: Any constant of ours.
_LOCK = 0x66_7265_6563_6B

_TABLES: dict[str, LiteralString] = {
    "checkpoints": "thread_checkpoints",
    "writes": "thread_writes",
    "messages": "thread_messages",
    "blobs": "thread_blobs",
}

_COLUMNS: dict[LiteralString, LiteralString] = {
    "thread_writes": "checkpoint_ns, checkpoint_id, task_id, idx, task_path, run_id, writes, messages, blobs",
    "thread_messages": "position, type, message",
    "thread_blobs": "digest, type, value",
}

_UNUSED: dict[str, LiteralString] = {
    "messages": """
      WITH used AS MATERIALIZED (
        SELECT thread_id, range_agg(messages) AS positions FROM (
          SELECT thread_id, messages FROM freehold.thread_checkpoints WHERE thread_id = ANY(%(threads)s) AND messages IS NOT NULL
          UNION ALL SELECT thread_id, messages FROM freehold.thread_writes WHERE thread_id = ANY(%(threads)s) AND messages IS NOT NULL) rows
         GROUP BY thread_id)
      DELETE FROM freehold.thread_messages m
       WHERE m.thread_id = ANY(%(threads)s)
         AND NOT EXISTS (SELECT FROM used WHERE used.thread_id = m.thread_id AND m.position <@ used.positions)""",
    "blobs": """
      WITH used AS MATERIALIZED (
        SELECT DISTINCT thread_id, unnest(blobs) AS digest FROM (
          SELECT thread_id, blobs FROM freehold.thread_checkpoints WHERE thread_id = ANY(%(threads)s) AND blobs IS NOT NULL
          UNION ALL SELECT thread_id, blobs FROM freehold.thread_writes WHERE thread_id = ANY(%(threads)s) AND blobs IS NOT NULL) rows)
      DELETE FROM freehold.thread_blobs b
       WHERE b.thread_id = ANY(%(threads)s)
         AND NOT EXISTS (SELECT FROM used WHERE used.thread_id = b.thread_id AND used.digest = b.digest)""",
}

#: Ids of LangGraph's checkpoints are version 6 UUIDs: they tell when they were made, and sort by it as text.
_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)

_HISTORY: LiteralString = """
SELECT thread_id, checkpoint_ns, checkpoint_id, parent_id, metadata->'parents'->>'' AS root,
       metadata->'counters_since_delta_snapshot' AS counters,
       substr(checkpoint_id, 15, 1) = '6' AND length(checkpoint_id) = 36 AS tells_time
  FROM freehold.thread_checkpoints WHERE thread_id = ANY(%s) ORDER BY thread_id, checkpoint_ns, checkpoint_id DESC"""

#: Rows of a thread by checkpoint, for those that go.
_GONE: LiteralString = "unnest(%(thread)s::text[], %(ns)s::text[], %(id)s::text[]) AS gone (thread, ns, id)"


@dataclass(frozen=True)
class Removed:
    """How many rows of each kind went, what the stock saver had stored of the same threads included."""

    threads: int = 0
    checkpoints: int = 0
    writes: int = 0
    messages: int = 0
    blobs: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


#: What a run replaced stands beside its own: an answer or question of the run before it.
_PUT_BACK: LiteralString = """
UPDATE freehold.thread_writes kept SET idx = kept.idx + %(aside)s
 WHERE kept.thread_id = ANY(%(threads)s) AND kept.idx <= -%(aside)s
   AND NOT EXISTS (SELECT FROM freehold.thread_writes w
                    WHERE w.thread_id = kept.thread_id AND w.checkpoint_ns = kept.checkpoint_ns AND w.checkpoint_id = kept.checkpoint_id
                      AND w.task_id = kept.task_id AND w.idx = kept.idx + %(aside)s)"""


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


async def delete_threads_within(conn: Connection, thread_ids: Sequence[str]) -> Removed:
    """The same, in a transaction of the caller's; what the stock saver stored goes with it."""
    counts = await delete_stock_threads(conn, thread_ids)
    for name, table in _TABLES.items():
        gone = await conn.execute(f"DELETE FROM freehold.{table} WHERE thread_id = ANY(%s)".encode(), (list(thread_ids),))  # noqa: S608
        counts[name] = counts.get(name, 0) + gone.rowcount
    return Removed(threads=len(thread_ids), **counts)


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
    threads = sorted({row["thread_id"] for row in (*gone, *left)})
    await conn.execute(_PUT_BACK, {"threads": threads, "aside": ASIDE})
    await _delete_unused(conn, threads)


async def copy_thread(pool: Pool, source: str, target: str) -> None:
    """Copy all checkpoints of a thread, with what they refer to, to a thread that has none."""
    async with pool.connection() as conn, conn.transaction():
        # All of it as it was at one moment: pruning between two statements would take what the first one's rows refer to.
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await copy_thread_within(conn, source, target)


async def copy_thread_within(conn: Connection, source: str, target: str) -> None:
    """The same in a transaction of the caller's, who sees to it that nothing of the thread is removed meanwhile."""
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
        await prune_within(conn, [thread_id], before=None)


async def prune_within(
    conn: Connection, thread_ids: Sequence[str], *, before: datetime | None, idle: Sequence[str] = (), limit: int | None = None
) -> tuple[Removed, list[str]]:
    """The same for several threads and what is older than `before`, in a transaction of the caller's, who sees to it that none runs.

    Every thread keeps the newest checkpoint of each namespace with its pending writes, so a conversation goes on and a question can
    still be answered. How old a checkpoint is, its id tells; where ids do not tell the time, all but the newest of an `idle` thread
    are old.

    Args:
        before: None takes every checkpoint for old.
        idle: threads whose state did not change since then.
        limit: checkpoints to remove at most.

    Returns:
        What was removed, and the threads that have more to remove than `limit` let through.
    """
    rows = await (await conn.execute(_HISTORY, (list(thread_ids),))).fetchall()
    histories: defaultdict[str, _History] = defaultdict(_History)
    cutoff = first_id_since(before) if before else None
    for row in rows:
        old = cutoff is None or (row["checkpoint_id"] < cutoff if row["tells_time"] else row["thread_id"] in idle)
        histories[row["thread_id"]].add(row, old=old)
    doomed: list[tuple[str, str, str]] = []
    stock = Removed()
    schemas = await find_stock_schemas(conn)
    for thread_id, history in histories.items():
        history.choose()
        reaches_back = await _keep_what_deltas_need(conn, thread_id, history)
        doomed += [(thread_id, ns, checkpoint_id) for ns, checkpoint_id in history.doomed()]
        if schemas:
            namespaces = [ns for ns in history.newest if ns not in reaches_back]
            before_id = None if thread_id in idle else cutoff
            stock += Removed(**await delete_stock_history(conn, schemas, thread_id, namespaces, before=before_id))
    chosen = doomed[:limit] if limit else doomed
    removed = await _remove(conn, chosen) if chosen else Removed()
    more = sorted({thread_id for thread_id, _, _ in doomed[len(chosen) :]})
    return removed + stock, more


def first_id_since(moment: datetime) -> str:
    """Where checkpoint ids made at `moment` begin in their order, e.g. `1f0c5b5e-8a52-6000`."""
    ticks = (moment - _EPOCH) // timedelta(microseconds=1) * 10
    return f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}"


@dataclass
class _History:
    """The checkpoints of one thread, by (namespace, id), newest first within a namespace, and which of them stay."""

    rows: dict[tuple[str, str], DictRow] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    old: set[tuple[str, str]] = field(default_factory=set)
    kept: set[tuple[str, str]] = field(default_factory=set)

    def add(self, row: DictRow, *, old: bool) -> None:
        """Add a row; they come newest first."""
        key = (row["checkpoint_ns"], row["checkpoint_id"])
        self.rows[key] = row
        self.newest.setdefault(*key)
        if old:
            self.old.add(key)

    def choose(self) -> None:
        """Keep what is not old and the newest of each namespace; a subgraph's call goes with the checkpoint it was called from."""
        self.kept = {key for key in self.rows if key not in self.old or self.newest[key[0]] == key[1]}
        roots = {checkpoint_id for ns, checkpoint_id in self.rows if not ns}
        for key, row in self.rows.items():
            if ":" in key[0] and row["root"] in roots and ("", row["root"]) not in self.kept:
                self.kept.discard(key)

    def doomed(self) -> list[tuple[str, str]]:
        """What goes, calls of subgraphs first: without the checkpoint they were called from they would seem to be of use."""
        return sorted((key for key in self.rows if key not in self.kept), key=lambda key: (":" not in key[0], key))


async def _keep_what_deltas_need(conn: Connection, thread_id: str, history: _History) -> set[str]:
    """Keep the ancestors that delta channels are rebuilt from, of every checkpoint that stays while its parent goes.

    Returns:
        Namespaces in which those lie further back than our own tables: the stock saver stored them.
    """
    reaches_back: set[str] = set()
    for ns, checkpoint_id in sorted(history.kept, reverse=True):
        row = history.rows[ns, checkpoint_id]
        missing = set(row["counters"] or ())
        if (ns, row["parent_id"]) in history.kept:
            missing.clear()  # it is the parent, or its ancestors, that tell what is needed
        while missing and row["parent_id"]:
            missing -= await _channels_stored(conn, thread_id, ns, row["checkpoint_id"])
            parent = (ns, row["parent_id"])
            if missing and parent not in history.rows:
                reaches_back.add(ns)
                break
            if missing:
                history.kept.add(parent)
            row = history.rows[parent] if missing else row
    return reaches_back


async def _channels_stored(conn: Connection, thread_id: str, ns: str, checkpoint_id: str) -> set[str]:
    cursor = await conn.execute(
        "SELECT state FROM freehold.thread_checkpoints WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s",
        (thread_id, ns, checkpoint_id),
    )
    row = await cursor.fetchone()
    return set(unpack(row["state"])["values"]) if row else set()


async def _remove(conn: Connection, doomed: Sequence[tuple[str, str, str]]) -> Removed:
    """Remove checkpoints, their writes, and what nothing refers to any more."""
    threads, namespaces, ids = (list(column) for column in zip(*doomed, strict=True))
    arguments: dict[str, Any] = {"thread": threads, "ns": namespaces, "id": ids, "threads": sorted(set(threads))}
    counts: dict[str, int] = {}
    for name in ("checkpoints", "writes"):
        gone = await conn.execute(
            f"DELETE FROM freehold.{_TABLES[name]} t USING {_GONE}"  # noqa: S608 - constant names
            " WHERE t.thread_id = gone.thread AND t.checkpoint_ns = gone.ns AND t.checkpoint_id = gone.id".encode(),
            arguments,
        )
        counts[name] = gone.rowcount
    await conn.execute(
        f"UPDATE freehold.thread_checkpoints t SET parent_id = NULL FROM {_GONE}"  # noqa: S608 - as above
        " WHERE t.thread_id = gone.thread AND t.checkpoint_ns = gone.ns AND t.parent_id = gone.id".encode(),
        arguments,
    )
    counts |= await _delete_unused(conn, arguments["threads"])
    return Removed(threads=len(arguments["threads"]), **counts)


async def _delete_unused(conn: Connection, thread_ids: Sequence[str]) -> dict[str, int]:
    return {name: (await conn.execute(statement, {"threads": list(thread_ids)})).rowcount for name, statement in _UNUSED.items()}
