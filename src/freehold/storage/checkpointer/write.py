"""Stores checkpoints and writes: what waits goes out together, in one statement and one commit, with the fence in it.

A superstep makes one call per task and one for the checkpoint that follows. The calls of tasks wait a moment for it; while
one statement is under way the next ones gather. One statement is one round trip and is never half sent, so that a process
stopped at any moment holds no lock.

A deferred writer does not keep its callers waiting: it gathers a little longer, and what is left when a run ends is stored
in the transaction that ends it (`pending`). A run of a few quick steps is one commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from freehold.core.errors import LeaseLost, StorageUnavailable
from freehold.storage.checkpointer.codec import Rows, digest_array, multirange
from freehold.storage.pool import Pool, is_away

log = logging.getLogger(__name__)

#: How long the writes of tasks wait for the checkpoint that follows them.
COMPANY_SECONDS = 0.002

#: How long a deferred writer gathers. Many steps of a graph without a model take less; to one with a model it is nothing.
GATHER_SECONDS = 0.01

#: How long a write or read waits for a database that went away, e.g. while it restarts.
PATIENCE_SECONDS = 45.0

#: SQLSTATE that `fence` raises with, and that `expect_stored` raises with.
FENCED = "FH001"
TAKEN = "FH002"

_MESSAGES: LiteralString = """
messages AS (
  INSERT INTO freehold.thread_messages AS t (thread_id, position, type, message)
  SELECT * FROM unnest(%(m_thread)s::text[], %(m_position)s::int4[], %(m_type)s::text[], %(m_message)s::bytea[])
  ON CONFLICT (thread_id, position) DO UPDATE SET type = EXCLUDED.type WHERE t.message = EXCLUDED.message  -- the same one, repeated
  RETURNING 1)"""
_BLOBS: LiteralString = """
blobs AS (
  INSERT INTO freehold.thread_blobs (thread_id, digest, type, value)
  SELECT * FROM unnest(%(b_thread)s::text[], %(b_digest)s::bytea[], %(b_type)s::text[], %(b_value)s::bytea[])
  ON CONFLICT DO NOTHING)"""
_CHECKPOINTS: LiteralString = """
checkpoints AS (
  INSERT INTO freehold.thread_checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_id, state, metadata, messages, blobs)
  SELECT a, b, c, d, e, f::jsonb, g::int4multirange, h::bytea[]
    FROM unnest(%(c_thread)s::text[], %(c_ns)s::text[], %(c_id)s::text[], %(c_parent)s::text[], %(c_state)s::bytea[],
                %(c_metadata)s::text[], %(c_messages)s::text[], %(c_blobs)s::text[]) AS new (a, b, c, d, e, f, g, h)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
     SET state = EXCLUDED.state, metadata = EXCLUDED.metadata, messages = EXCLUDED.messages, blobs = EXCLUDED.blobs)"""
_WRITES: LiteralString = """
writes AS (
  INSERT INTO freehold.thread_writes
         (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, run_id, writes, messages, blobs)
  SELECT a, b, c, d, e, f, g, h, i::int4multirange, j::bytea[]
    FROM unnest(%(w_thread)s::text[], %(w_ns)s::text[], %(w_id)s::text[], %(w_task)s::text[], %(w_idx)s::int4[],
                %(w_path)s::text[], %(w_run)s::text[], %(w_writes)s::bytea[], %(w_messages)s::text[], %(w_blobs)s::text[])
         AS new (a, b, c, d, e, f, g, h, i, j)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
     SET writes = EXCLUDED.writes, messages = EXCLUDED.messages, blobs = EXCLUDED.blobs, run_id = EXCLUDED.run_id
   WHERE EXCLUDED.idx < 0)"""


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint as it is stored."""

    key: tuple[str, str, str]
    parent_id: str | None
    state: bytes
    metadata: str


@dataclass(frozen=True)
class WriteRow:
    """Writes of one task as they are stored; `idx` below zero replaces what is there, 0 does not."""

    key: tuple[str, str, str, str, int]
    task_path: str
    run_id: str | None
    writes: bytes


Encoded = list[tuple[CheckpointRow | WriteRow, Rows]]


@dataclass(eq=False)
class Operation:
    """One call of the saver. `encode` gives its rows; it is called again where another process took the message positions."""

    thread_id: str
    ns: str
    encode: Callable[[], Encoded]
    is_checkpoint: bool
    done: asyncio.Future[None]
    rows: Encoded | None = None

    def encoded(self) -> Encoded:
        if self.rows is None:
            self.rows = self.encode()
        return self.rows


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


class GroupWriter:
    """Collects operations and stores them in order, several in one commit. One per saver."""

    def __init__(self, pool: Pool, fence: tuple[UUID, int] | None, renumber: Callable[[str], Any], *, deferred: bool) -> None:
        self._pool = pool
        self._fence = fence
        self._renumber = renumber
        self._deferred = deferred
        self._waiting: list[Operation] = []
        self._under_way: list[Operation] = []
        #: Given out by `pending`; stored by whoever asked for them, or by the next `flush`.
        self._held: list[Operation] = []
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def store(self, thread_id: str, ns: str, encode: Callable[[], Encoded], *, is_checkpoint: bool) -> None:
        """Store what `encode` gives; returns once it is committed, if deferred at once: then the next call or `flush` raises.

        Raises:
            LeaseLost: another worker holds the run.
            StorageUnavailable: the database stayed away for `PATIENCE_SECONDS`.
        """
        self._raise_failure()
        operation = Operation(thread_id, ns, encode, is_checkpoint, asyncio.get_running_loop().create_future())
        if is_checkpoint:  # now: the state goes on changing
            self._waiting = self._encoded(self._waiting)
            operation.encoded()
            if not self._deferred:
                self._urgent.set()
        self._waiting.append(operation)
        if self._task is None:
            self._task = asyncio.create_task(self._store_all(), name="checkpoints")
        if not self._deferred:
            # Whoever waits may be cancelled; what was handed over is stored all the same, with the others of its commit.
            await asyncio.shield(operation.done)

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return self._task is not None

    async def settle(self, thread_id: str, ns: str) -> None:
        """Before a thread's namespace is read: store what waits of it. Raises as `store` does."""
        if any((each.thread_id, each.ns) == (thread_id, ns) for each in (*self._held, *self._waiting, *self._under_way)):
            await self.flush()

    async def flush(self) -> None:
        """Store what waits. Raises as `store` does."""
        self._waiting, self._held = self._held + self._waiting, []
        while self._waiting or self._task:
            self._task = self._task or asyncio.create_task(self._store_all(), name="checkpoints")
            self._urgent.set()
            await asyncio.wait({self._task})
        self._raise_failure()

    async def pending(self) -> Pending | None:
        """What waits, for a transaction of the caller's; it stays with the writer until that has succeeded or `flush` is called.

        None: nothing waits. Where the statement raises `TAKEN`, `flush` does what is to be done.
        """
        taken, self._waiting = self._waiting, []
        self._held += taken
        while self._task is not None:
            self._urgent.set()
            await asyncio.wait({self._task})
        self._held = self._encoded(self._held)
        self._raise_failure()
        return self._statement_of(self._held) if self._held else None

    def discard(self) -> None:
        """Forget what waits: it is not wanted any more. Whoever waits for it is cancelled."""
        for operation in (*self._waiting, *self._held):
            operation.done.cancel()
        self._waiting, self._held = [], []

    def _raise_failure(self) -> None:
        """A value that cannot be stored is told once: then the run ends with that error, and with what was stored before."""
        failure = self._failure
        if failure is None:
            return
        if not isinstance(failure, LeaseLost | StorageUnavailable):
            self._failure = None
            self.discard()
        raise failure

    def _encoded(self, operations: list[Operation]) -> list[Operation]:
        """Those that can be encoded; the others have failed."""
        encoded = []
        for operation in operations:
            try:
                operation.encoded()
            except Exception as error:  # noqa: BLE001 - a user's value: whatever it raises is for whoever handed it over
                self._fail([operation], error)
            else:
                encoded.append(operation)
        return encoded

    def _fail(self, operations: list[Operation], error: Exception) -> None:
        if self._deferred:
            self._failure = error
        for operation in operations:
            if not operation.done.done():
                operation.done.set_exception(error)
                operation.done.exception()  # taken note of, should its caller be gone

    async def _store_all(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                self._urgent.clear()
                self._under_way, self._waiting = self._waiting, []
                await self._store_batch(self._under_way)
        finally:
            self._under_way = []
            self._task = None

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(GATHER_SECONDS if self._deferred else COMPANY_SECONDS):
                await self._urgent.wait()
        except TimeoutError:
            return

    async def _store_batch(self, batch: list[Operation]) -> None:
        batch = self._encoded(batch)
        if not batch:
            return
        try:
            await self._execute(batch)
        except Exception as error:  # noqa: BLE001 - handed to those who wait for it, whatever it is
            self._fail(batch, error)
        else:
            for operation in batch:
                if not operation.done.done():
                    operation.done.set_result(None)

    async def _execute(self, batch: list[Operation]) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_SECONDS
        pause = 0.1
        while True:
            try:
                return await self._send(batch)
            except psycopg.Error as error:
                if error.sqlstate == FENCED:
                    raise LeaseLost(str(error).splitlines()[0]) from error
                if error.sqlstate == TAKEN:
                    await self._encode_again(batch)
                    continue
                if not is_away(error):
                    raise
                if loop.time() + pause > give_up_at:
                    raise StorageUnavailable(
                        f"checkpoints cannot be stored: {error}", hint="`freehold status` says whether the database is up"
                    ) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def _encode_again(self, batch: list[Operation]) -> None:
        threads = {operation.thread_id for operation in batch}
        for thread_id in threads:
            await self._renumber(thread_id)
        for operation in (*batch, *self._held, *self._waiting):  # what waits may refer to messages of the batch
            if operation.thread_id in threads and operation.rows is not None:
                operation.rows = operation.encode()

    async def _send(self, batch: list[Operation]) -> None:
        pending = self._statement_of(batch)
        async with self._pool.connection() as conn:
            await conn.execute(pending.statement, pending.arguments, prepare=True, binary=True)

    def _statement_of(self, batch: list[Operation]) -> Pending:
        columns = _columns(batch)
        parts = tuple(columns.has(prefix) for prefix in ("m", "b", "c", "w"))
        arguments: dict[str, Any] = dict(columns.values)
        if self._fence:
            arguments["run"], arguments["epoch"] = self._fence
        if parts[0]:
            arguments["expected"] = len(arguments["m_thread"])
        return Pending(_statement(parts, self._fence is not None), arguments)


@cache
def _statement(parts: tuple[bool, ...], fenced: bool) -> bytes:
    ctes = [cte for cte, wanted in zip((_MESSAGES, _BLOBS, _CHECKPOINTS, _WRITES), parts, strict=True) if wanted]
    if fenced:
        ctes.insert(0, "held AS MATERIALIZED (SELECT freehold.fence(%(run)s::uuid, %(epoch)s::int4))")
    checks = ["(SELECT 1 FROM held)"] if fenced else []
    if parts[0]:
        checks.append("freehold.expect_stored(%(expected)s::int8, (SELECT count(*) FROM messages))")
    return ("WITH " + ",\n".join(ctes) + "\nSELECT " + (", ".join(checks) or "1")).encode()


def _columns(batch: list[Operation]) -> Columns:
    """The rows of a batch; of two for the same key the last one counts, except regular writes, where the first does."""
    columns = Columns()
    rows: dict[tuple[Any, ...], tuple[str, CheckpointRow | WriteRow, Rows]] = {}
    blobs: dict[tuple[str, bytes], tuple[str, bytes]] = {}
    for operation in batch:
        thread = operation.thread_id
        for row, extra in operation.encoded():
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
