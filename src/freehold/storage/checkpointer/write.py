"""Stores checkpoints and writes: what waits goes out together, in one statement and one commit, with the fence in it.

A superstep makes one call per task and one for the checkpoint that follows. The calls of tasks wait a moment for it; while
one statement is under way the next ones gather. One statement is one round trip and is never half sent, so that a process
stopped at any moment holds no lock.

A deferred writer does not keep its callers waiting: it gathers a little longer, and what is left when a run ends is stored
in the transaction that ends it (`pending`). A run of a few quick steps is one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import psycopg

from freehold.core.errors import LeaseLost, StorageUnavailable
from freehold.storage.checkpointer.statement import Encoded, Pending, statement_of
from freehold.storage.pool import Pool, is_away

#: Turns of the event loop the writes of tasks wait for the checkpoint that follows them: without a checkpoint they cost next to nothing.
COMPANY_TURNS = 10

#: How long a deferred writer gathers. Many steps of a graph without a model take less; to one with a model it is nothing.
GATHER_SECONDS = 0.025

#: How long a write or read waits for a database that went away, e.g. while it restarts.
PATIENCE_SECONDS = 45.0

#: SQLSTATE that `fence` raises with, and that `expect_stored` raises with.
FENCED = "FH001"
TAKEN = "FH002"

#: Bytes of rows that go out as one statement, but for a single operation that has more.
BATCH_BYTES = 32 * 1024 * 1024


@dataclass(eq=False)
class Operation:
    """One call of the saver. `encode` gives its rows; it is called again where they refer to what was not stored after all."""

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

    @property
    def size(self) -> int:
        """Bytes of what it stores, about."""
        return sum(
            sum(len(data) for _, _, data in extra.messages) + sum(len(data) for _, data in extra.blobs.values()) + 1024
            for _, extra in self.encoded()
        )


class Numbering(Protocol):
    """Who gives messages their positions."""

    def following(self, thread_id: str) -> Awaitable[int]:
        """The first position of a thread that is free in the database."""

    def forget(self, thread_id: str, following: int = 0) -> None:
        """Nothing is known to be stored of a thread any more; positions go on from there, or higher."""


class GroupWriter:
    """Collects operations and stores them in order, several in one commit. One per saver."""

    def __init__(self, pool: Pool, fence: tuple[UUID, int] | None, numbering: Numbering, *, deferred: bool) -> None:
        self._pool = pool
        self._fence = fence
        self._numbering = numbering
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
            try:
                operation.encoded()
            except Exception:
                self._forget({thread_id})
                raise
            if not self._deferred:
                self._urgent.set()
        self._waiting.append(operation)
        if self._task is None:
            self._task = asyncio.create_task(self._store_all(), name="checkpoints")
        if not self._deferred:
            # Whoever waits may be cancelled; what was handed over is stored all the same, with the others of its commit.
            await asyncio.shield(operation.done)

    @property
    def threads(self) -> set[str]:
        """Threads of which something waits or is on its way."""
        return {operation.thread_id for operation in self._unstored()}

    async def settle(self, *place: str) -> None:
        """Before a place is read (thread id, namespace; none: all): a deferred writer stores what waits of it. Raises as `store` does."""
        if self._deferred and any(not place or (each.thread_id, each.ns) == place for each in self._unstored()):
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
        if sum(operation.size for operation in self._held) > BATCH_BYTES:
            await self.flush()
        self._raise_failure()
        return self._statement_of(self._held) if self._held else None

    def discard(self) -> None:
        """Forget what waits: it is not wanted any more. Whoever waits for it is cancelled."""
        for operation in (*self._waiting, *self._held):
            operation.done.cancel()
        self._waiting, self._held = [], []

    def _raise_failure(self) -> None:
        """A value that cannot be stored is told once: the run ends with that error, and with what was stored before."""
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

    def _fail(self, failed: Iterable[Operation], error: Exception) -> None:
        """Tell those who handed it over. Of a deferred run nothing more is stored once the database has given it up."""
        if self._deferred:
            self._failure = error
            if isinstance(error, LeaseLost | StorageUnavailable):
                self.discard()
        for operation in failed:
            if not operation.done.done():
                operation.done.set_exception(error)
                operation.done.exception()  # taken note of, should its caller be gone
        self._forget({operation.thread_id for operation in failed})

    def _forget(self, threads: set[str]) -> None:
        """What was encoded was not stored: nothing may refer to it, also of what waits."""
        for thread_id in threads:
            self._numbering.forget(thread_id)
        for operation in self._unstored():
            if operation.thread_id in threads:
                operation.rows = None

    def _unstored(self) -> Iterable[Operation]:
        return (each for each in (*self._under_way, *self._held, *self._waiting) if not each.done.done())

    async def _store_all(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                self._urgent.clear()
                self._under_way = self._next_batch()
                await self._store_batch(self._under_way)
                self._under_way = []
        finally:
            self._under_way = []
            self._task = None

    def _next_batch(self) -> list[Operation]:
        waiting = self._encoded(self._waiting)
        taken, size = 0, 0
        for operation in waiting:
            size += operation.size
            if taken and size > BATCH_BYTES:
                break
            taken += 1
        self._waiting = waiting[taken:]
        if self._waiting:
            self._urgent.set()
        return waiting[:taken]

    async def _gather(self) -> None:
        if self._deferred:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._urgent.wait()
            return
        for _ in range(COMPANY_TURNS):
            if self._urgent.is_set():
                return
            await asyncio.sleep(0)

    async def _store_batch(self, batch: list[Operation]) -> None:
        batch = self._encoded(batch)
        if not batch:
            return
        try:
            await self._execute(batch)
        except (LeaseLost, StorageUnavailable) as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - handed to those who wait for it, whatever it is
            if len(batch) == 1:
                self._fail(batch, error)
                return
            for operation in batch:  # one of them cannot be stored; the others can
                await self._store_batch([operation])
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
        """Another process took the positions: look where the threads end now, then number all that waits anew, in its order."""
        threads = {operation.thread_id for operation in batch}
        following = {thread_id: await self._numbering.following(thread_id) for thread_id in threads}
        for thread_id in threads:
            self._numbering.forget(thread_id, following[thread_id])
        for operation in self._unstored():
            if operation.thread_id in threads and operation.rows is not None:
                operation.rows = operation.encode()

    async def _send(self, batch: list[Operation]) -> None:
        pending = self._statement_of(batch)
        async with self._pool.connection() as conn:
            await conn.execute(pending.statement, pending.arguments, prepare=True, binary=True)

    def _statement_of(self, batch: list[Operation]) -> Pending:
        return statement_of([(operation.thread_id, operation.encoded()) for operation in batch], self._fence)
