"""The statement that stores a batch: a part for each table that gets rows, values as arrays, so that it is prepared once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, LiteralString
from uuid import UUID

from freehold.storage.checkpointer.codec import Rows, digest_array, multirange

# %b: sent in binary, because a text array escapes each of its parts and writes bytes as hexadecimals. %s: what may be null, or is short.

_MESSAGES: LiteralString = """
messages AS (
  INSERT INTO freehold.thread_messages AS t (thread_id, position, type, message)
  SELECT * FROM unnest(%(m_thread)b::text[], %(m_position)s::int4[], %(m_type)s::text[], %(m_message)b::bytea[])
  ON CONFLICT (thread_id, position) DO UPDATE SET type = EXCLUDED.type
   WHERE t.message = EXCLUDED.message AND t.type IS NOT DISTINCT FROM EXCLUDED.type  -- the same one, repeated
  RETURNING 1)"""
_BLOBS: LiteralString = """
blobs AS (
  INSERT INTO freehold.thread_blobs (thread_id, digest, type, value)
  SELECT * FROM unnest(%(b_thread)b::text[], %(b_digest)b::bytea[], %(b_type)b::text[], %(b_value)b::bytea[])
  ON CONFLICT DO NOTHING)"""
_CHECKPOINTS: LiteralString = """
checkpoints AS (
  INSERT INTO freehold.thread_checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_id, state, metadata, messages, blobs)
  SELECT a, b, c, d, e, f::jsonb, g::int4multirange, h::bytea[]
    FROM unnest(%(c_thread)b::text[], %(c_ns)b::text[], %(c_id)b::text[], %(c_parent)s::text[], %(c_state)b::bytea[],
                %(c_metadata)b::text[], %(c_messages)s::text[], %(c_blobs)s::text[]) AS new (a, b, c, d, e, f, g, h)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
     SET state = EXCLUDED.state, metadata = EXCLUDED.metadata, messages = EXCLUDED.messages, blobs = EXCLUDED.blobs)"""
_WRITES: LiteralString = """
writes AS (
  INSERT INTO freehold.thread_writes
         (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, run_id, writes, messages, blobs)
  SELECT a, b, c, d, e, f, g, h, i::int4multirange, j::bytea[]
    FROM unnest(%(w_thread)b::text[], %(w_ns)b::text[], %(w_id)b::text[], %(w_task)b::text[], %(w_idx)s::int4[],
                %(w_path)b::text[], %(w_run)s::text[], %(w_writes)b::bytea[], %(w_messages)s::text[], %(w_blobs)s::text[])
         AS new (a, b, c, d, e, f, g, h, i, j)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
     SET writes = EXCLUDED.writes, messages = EXCLUDED.messages, blobs = EXCLUDED.blobs, run_id = EXCLUDED.run_id
   WHERE EXCLUDED.idx < 0)"""

# What an earlier run wrote there is kept beside it, so that taking this one back leaves it: an answer, a question.
_KEPT: LiteralString = """
kept AS (
  INSERT INTO freehold.thread_writes AS t
         (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, run_id, writes, messages, blobs)
  SELECT w.thread_id, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx - {aside}, w.task_path, w.run_id, w.writes, w.messages, w.blobs
    FROM unnest(%(w_thread)b::text[], %(w_ns)b::text[], %(w_id)b::text[], %(w_task)b::text[], %(w_idx)s::int4[], %(w_run)s::text[])
         AS new (a, b, c, d, e, f)
    JOIN freehold.thread_writes w ON w.thread_id = a AND w.checkpoint_ns = b AND w.checkpoint_id = c AND w.task_id = d AND w.idx = e
   WHERE e < 0 AND w.run_id IS DISTINCT FROM f
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
     SET writes = EXCLUDED.writes, messages = EXCLUDED.messages, blobs = EXCLUDED.blobs, run_id = EXCLUDED.run_id)"""

#: How far below its own number a special write is kept that a later run replaced. One is enough: only the active run is taken back.
ASIDE = 100


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint as it is stored."""

    key: tuple[str, str, str]
    parent_id: str | None
    state: bytes
    metadata: str


@dataclass(frozen=True)
class WriteRow:
    """Writes of one task as they are stored; `idx` below zero replaces what is there, others do not."""

    key: tuple[str, str, str, str, int]
    task_path: str
    run_id: str | None
    writes: bytes


Encoded = list[tuple[CheckpointRow | WriteRow, Rows]]


@dataclass(frozen=True)
class Pending:
    """One statement for somebody else's transaction. It raises `LeaseLost`'s SQLSTATE `FENCED`, or `TAKEN`: see `GroupWriter.pending`."""

    statement: bytes
    arguments: dict[str, Any]


@dataclass
class Columns:
    """The parameters of one statement, a list per column."""

    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, prefix: str, **row: Any) -> None:
        for name, value in row.items():
            self.values.setdefault(f"{prefix}_{name}", []).append(value)

    def has(self, prefix: str) -> bool:
        return f"{prefix}_thread" in self.values


def statement_of(batch: Iterable[tuple[str, Encoded]], fence: tuple[UUID, int] | None) -> Pending:
    """One statement that stores (thread id, rows) in their order, fenced where there is a fence."""
    columns = _columns(batch)
    arguments: dict[str, Any] = dict(columns.values)
    special = any(idx < 0 for idx in arguments.get("w_idx", ()))
    parts = (columns.has("m"), columns.has("b"), columns.has("c"), special, columns.has("w"))
    if fence:
        arguments["run"], arguments["epoch"] = fence
    if parts[0]:
        arguments["expected"] = len(arguments["m_thread"])
    return Pending(_statement(parts, fence is not None), arguments)


@cache
def _statement(parts: tuple[bool, ...], fenced: bool) -> bytes:
    every = (_MESSAGES, _BLOBS, _CHECKPOINTS, _KEPT.replace("{aside}", str(ASIDE)), _WRITES)
    ctes = [cte for cte, wanted in zip(every, parts, strict=True) if wanted]
    if fenced:
        ctes.insert(0, "held AS MATERIALIZED (SELECT freehold.fence(%(run)s::uuid, %(epoch)s::int4))")
    checks = ["(SELECT 1 FROM held)"] if fenced else []
    if parts[0]:
        checks.append("freehold.expect_stored(%(expected)s::int8, (SELECT count(*) FROM messages))")
    return ("WITH " + ",\n".join(ctes) + "\nSELECT " + (", ".join(checks) or "1")).encode()


def _columns(batch: Iterable[tuple[str, Encoded]]) -> Columns:
    """The rows of a batch; of two for the same key the last one counts, except regular writes, where the first does."""
    columns = Columns()
    rows: dict[tuple[Any, ...], tuple[str, CheckpointRow | WriteRow, Rows]] = {}
    blobs: dict[tuple[str, bytes], tuple[str, bytes]] = {}
    for thread, encoded in batch:
        for row, extra in encoded:
            for position, kind, data in extra.messages:
                columns.add("m", thread=thread, position=position, type=kind, message=data)
            blobs.update({(thread, digest): value for digest, value in extra.blobs.items()})
            if isinstance(row, WriteRow) and row.key[4] >= 0 and row.key in rows:
                continue
            rows[row.key] = (thread, row, extra)
    for (thread, digest), (kind, data) in blobs.items():
        columns.add("b", thread=thread, digest=digest, type=kind, value=data)
    for _, row, extra in rows.values():
        _add_row(columns, row, extra)
    return columns


def _add_row(columns: Columns, row: CheckpointRow | WriteRow, extra: Rows) -> None:
    refers: dict[str, Any] = {"messages": multirange(extra.positions), "blobs": digest_array(extra.digests)}
    if isinstance(row, CheckpointRow):
        thread, ns, identifier = row.key
        columns.add("c", thread=thread, ns=ns, id=identifier, parent=row.parent_id, state=row.state, metadata=row.metadata, **refers)
    else:
        thread, ns, identifier, task, idx = row.key
        columns.add(
            "w", thread=thread, ns=ns, id=identifier, task=task, idx=idx, path=row.task_path, run=row.run_id, writes=row.writes, **refers
        )
