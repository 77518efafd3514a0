"""Runs in Postgres: the queue and the record of what happened, in one row each (docs/adr/0001).

Methods that take a `Caller` serve requests and authorise in the same statement. Methods that take an epoch serve the
worker that claimed the run and change nothing once another one holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.assistant import Settings
from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import CheckpointsMoved, Conflict, FreeholdError, NotFound
from freehold.core.ids import new_id
from freehold.core.run import CancelAction, MultitaskStrategy, Run, RunRequest, RunStatus, graph_keys
from freehold.storage import queries
from freehold.storage.cancelling import stop_many
from freehold.storage.checkpointer.statement import Pending
from freehold.storage.checkpointer.upkeep import delete_for_runs, delete_threads_within
from freehold.storage.checkpointer.write import FENCED, TAKEN
from freehold.storage.lifetime import NO_LIFETIME, TimeToLive, lifetime_arguments
from freehold.storage.pool import Pool, act_as_process, act_for, as_caller, connection, rows_of, unstorable
from freehold.storage.quotas import Quotas
from freehold.storage.transaction import as_pool
from freehold.storage.webhooks import report_ends
from freehold.telemetry.metrics import RUNS

SQL = queries.load("runs")

Connection = AsyncConnection[DictRow]

#: How often a claim is tried again at once where another worker was a moment faster.
CLAIM_ATTEMPTS = 3

#: Threads of stateless runs that are removed in one transaction.
TEMPORARY_AT_ONCE = 500


@dataclass(frozen=True)
class Target:
    """What a new run executes and where.

    `thread_id` None makes a thread for this run alone; `temporary` removes it some time after the run ended. `settings` are the
    assistant's, None where they were not looked up.
    """

    assistant_id: UUID
    graph_id: str
    thread_id: UUID | None = None
    create_thread: bool = False
    temporary: bool = False
    settings: Settings | None = None
    #: Of a thread that is made for the run, unless it is temporary.
    lifetime: TimeToLive | None = None


@dataclass(frozen=True)
class Offer:
    """A run to be accepted with others."""

    target: Target
    request: RunRequest
    after_seconds: float = 0


@dataclass(frozen=True)
class Accepted:
    """A run that will survive, and the runs that were asked to stop in its favour."""

    run: Run
    stopped: tuple[UUID, ...] = ()


@dataclass(frozen=True)
class Claimant:
    """Who claims runs, and for how long without a sign of life."""

    worker: str
    lease_seconds: float


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands."""

    status: RunStatus
    epoch: int
    attempt: int
    error: dict[str, Any] | None


@dataclass(frozen=True)
class Queue:
    """The queue at this moment: runs that could start, seconds the first has waited, runs being executed; threads with either,
    and the size of the tables of checkpoints and of documents, with indexes and TOAST."""

    depth: int
    age_seconds: float
    running: int
    active_threads: int
    checkpoint_bytes: int
    knowledge_bytes: int


class Runs:
    """All statements on the runs table."""

    def __init__(self, pool: Pool, quotas: Quotas | None = None) -> None:
        self._pool = pool
        self._quotas = quotas

    def within(self, conn: Connection, *, counted: bool = True) -> Runs:
        """The same in a transaction of the caller's; what it does is stored with that.

        Args:
            counted: False for runs that nobody starts: no quota keeps them.
        """
        return Runs(as_pool(conn), self._quotas if counted else None)

    async def hold_quotas(self, conn: Connection, caller: Caller) -> None:
        """First in a transaction that locks threads and accepts runs on them later, so that no two wait for each other."""
        if self._quotas:
            await self._quotas.hold(conn, caller)

    # -- requests ------------------------------------------------------------------------------------------------

    async def accept(
        self,
        caller: Caller,
        target: Target,
        request: RunRequest,
        *,
        strategy: MultitaskStrategy = "enqueue",
        after_seconds: float = 0,
    ) -> Accepted:
        """Store a run; once this returns it survives any process.

        Raises:
            NotFound: the thread does not exist or is not the caller's.
            Conflict: strategy "reject" and the thread has an active run.
            InvalidRequest: the request holds what Postgres cannot store, e.g. a NUL character.
            QuotaExceeded: the caller, or the organisation, has used up what `[quotas]` allows.
        """
        if self._quotas:
            await self._quotas.admit(caller)
        arguments = _arguments(caller, target, request, strategy, after_seconds)
        stopped: tuple[UUID, ...] = ()
        try:
            if target.thread_id is None:
                row = await self._enqueue(caller, ("enqueue_stateless",), {**arguments, "temporary": target.temporary})
            elif strategy == "enqueue":
                row = await self._enqueue(caller, ("make_thread", "enqueue") if target.create_thread else ("enqueue",), arguments)
            else:
                async with as_caller(self._pool, caller) as conn:
                    if self._quotas:
                        await self._quotas.hold(conn, caller)
                    stopped = await self._make_way(conn, target, arguments, strategy)
                    if self._quotas:
                        await self._quotas.admit_within(conn, caller)
                    row = await _one(conn, "enqueue", arguments)
        except psycopg.DatabaseError as error:
            if refusal := self._refusal(error):
                raise refusal from error
            raise
        if row is None:
            raise NotFound(f"thread {target.thread_id} does not exist")
        return Accepted(run_of(row), stopped)

    async def accept_all(self, caller: Caller, offers: Sequence[Offer]) -> Sequence[Run]:
        """Store runs without a thread of the client's, all of them or none. Raises InvalidRequest and QuotaExceeded as `accept`."""
        if self._quotas:
            for _ in offers:
                await self._quotas.admit(caller)
        cursors = []
        try:
            async with as_caller(self._pool, caller) as conn, conn.pipeline():
                for offer in offers:
                    if self._quotas:
                        await self._quotas.admit_within(conn, caller)
                    arguments = _arguments(caller, offer.target, offer.request, "enqueue", offer.after_seconds)
                    arguments["temporary"] = offer.target.temporary
                    cursors.append(await conn.execute(SQL["enqueue_stateless"], arguments, prepare=True))
            rows = [await cursor.fetchone() for cursor in cursors]
        except psycopg.DatabaseError as error:
            if refusal := self._refusal(error):
                raise refusal from error
            raise
        return [run_of(row) for row in rows if row]

    def _refusal(self, error: psycopg.DatabaseError) -> FreeholdError | None:
        """What an error of an accepting transaction means to the client, if anything."""
        if isinstance(error, psycopg.DataError):
            return unstorable(error, "the request")
        return self._quotas.refused(error) if self._quotas else None

    async def _enqueue(self, caller: Caller, names: Sequence[str], arguments: dict[str, Any]) -> DictRow | None:
        """One round trip and one commit (see `_finish`); None where the thread is not the caller's."""
        async with connection(self._pool) as conn:
            async with conn.pipeline():
                await act_for(conn, caller)
                if self._quotas:
                    await self._quotas.admit_within(conn, caller)
                answers = [await conn.execute(SQL[name], arguments, prepare=True) for name in names]
            return await answers[-1].fetchone()

    async def accept_within(
        self, conn: Connection, caller: Caller, target: Target, request: RunRequest, *, strategy: MultitaskStrategy = "enqueue"
    ) -> Accepted:
        """`accept` as a part of a transaction that is open: what it stores is committed with the rest, and nothing where it raises."""
        if self._quotas:
            await self._quotas.admit(caller)
        arguments = {**_arguments(caller, target, request, strategy, 0), "temporary": target.temporary}
        stopped: tuple[UUID, ...] = ()
        try:
            async with conn.transaction():  # a savepoint
                if self._quotas:
                    await self._quotas.hold(conn, caller)
                if target.thread_id is not None and strategy != "enqueue":
                    stopped = await self._make_way(conn, target, arguments, strategy)
                if self._quotas:
                    await self._quotas.admit_within(conn, caller)
                row = await _one(conn, "enqueue_stateless" if target.thread_id is None else "enqueue", arguments)
        except psycopg.DatabaseError as error:
            if refusal := self._refusal(error):
                raise refusal from error
            raise
        if row is None:
            raise NotFound(f"thread {target.thread_id} does not exist")
        return Accepted(run_of(row), stopped)

    async def _make_way(self, conn: Connection, target: Target, arguments: dict[str, Any], strategy: MultitaskStrategy) -> tuple[UUID, ...]:
        """Within the accepting transaction: make sure of the thread, then apply the strategy to its active runs."""
        if target.create_thread:
            await conn.execute(SQL["make_thread"], arguments, prepare=True)
        if await _one(conn, "lock_thread", arguments) is None:
            raise NotFound(f"thread {target.thread_id} does not exist")
        active = [run_of(row) for row in await _all(conn, "active", arguments)]
        if strategy == "reject":
            if active:
                raise Conflict(
                    "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.",
                    hint='multitask_strategy "enqueue" runs after it, "interrupt" and "rollback" stop it',
                )
            return ()
        for run in active:
            await self._stop(conn, run, "rollback" if strategy == "rollback" else "interrupt")
        return tuple(run.run_id for run in active)

    async def cancel(self, caller: Caller, thread_id: UUID, run_id: UUID, action: CancelAction) -> Run:
        """Ask for a run to stop; one that has not started ends at once, and so does one nobody holds that is rolled back.

        Returns:
            The run as it stands; still active where a worker has yet to stop it.

        Raises:
            NotFound: no such run of the caller.
            Conflict: the run has ended already.
        """
        arguments = {"run_id": run_id, "thread_id": thread_id, **caller.arguments()}
        async with as_caller(self._pool, caller) as conn:
            if await _one(conn, "lock_thread", arguments) is None:
                raise NotFound(f"thread {thread_id} does not exist")
            row = await _one(conn, "get", arguments)
            if row is None:
                raise NotFound(f"run {run_id} does not exist")
            run = run_of(row)
            if not run.is_active:
                raise Conflict(f"run {run_id} has ended already: {run.status}")
            if not await self._stop(conn, run, action):
                return run
            await conn.execute(SQL["settle_thread"], arguments)
        return replace(run, status="interrupted")

    async def cancel_many(
        self, caller: Caller, statuses: Collection[RunStatus], action: CancelAction, *, of: tuple[UUID, Collection[UUID]] | None = None
    ) -> tuple[int, bool]:
        """`cancel` for all runs of the caller that are in one of `statuses`, or for some of a thread: `of=(thread, runs)`.

        Returns:
            How many were found, and whether a worker has yet to stop some of them.
        """
        return await stop_many(self._pool, caller, statuses, action, of)

    async def _stop(self, conn: Connection, run: Run, action: CancelAction) -> bool:
        """With the thread locked, so that the run cannot end meanwhile. True: it ended here, nobody else has to stop it."""
        arguments = {"run_id": run.run_id, "action": action}
        if action == "rollback":
            if await _one(conn, "remove_pending", arguments):
                await self._forget(conn, run)
                return True
        elif await _one(conn, "cancel_unstarted", arguments):
            if run.request.webhook:
                await report_ends(conn, [run.run_id])
            return True
        await conn.execute(SQL["ask_to_stop"], arguments)
        return False

    async def _forget(self, conn: Connection, run: Run) -> None:
        """What a run left besides its row, which is gone: from here on the thread has never seen it."""
        await act_as_process(conn)
        await delete_for_runs(conn, [str(run.run_id)])
        await conn.execute(SQL["rewind_graph"], {"thread_id": run.thread_id})
        await conn.execute(SQL["unset_graph"], {"thread_id": run.thread_id})

    async def get(self, caller: Caller, thread_id: UUID, run_id: UUID) -> Run:
        """Raises NotFound where the caller has no such run."""
        rows = await rows_of(self._pool, caller, SQL["get"], {"run_id": run_id, "thread_id": thread_id})
        if not rows:
            raise NotFound(f"run {run_id} does not exist")
        return run_of(rows[0])

    async def list(self, caller: Caller, thread_id: UUID, *, limit: int = 10, offset: int = 0, status: str | None = None) -> list[Run]:
        """Runs of a thread, newest first; empty where the thread is not the caller's."""
        return list((await self.page(caller, thread_id, limit=limit, offset=offset, status=status))[0])

    async def page(
        self, caller: Caller, thread_id: UUID, *, limit: int = 10, offset: int = 0, status: str | None = None
    ) -> tuple[Sequence[Run], int]:
        """The same and the number of all."""
        arguments = {"thread_id": thread_id, "limit": limit, "offset": offset, "status": status}
        rows = await rows_of(self._pool, caller, SQL["list"], arguments)
        return [run_of(row) for row in rows if row["run_id"] is not None], rows[0]["total"]

    async def delete(self, caller: Caller, thread_id: UUID, run_id: UUID) -> None:
        """Raises NotFound, or Conflict where the run is still active."""
        run = await self.get(caller, thread_id, run_id)
        if not await rows_of(self._pool, caller, SQL["delete"], {"run_id": run_id, "thread_id": thread_id}):
            raise Conflict(f"run {run_id} is {run.status}", hint="cancel it first")

    async def progress(self, run_id: UUID) -> RunProgress | None:
        """Where a run stands; None once it is gone. For those already authorised to wait for it."""
        return (await self.progress_of([run_id])).get(run_id)

    async def progress_of(self, run_ids: Collection[UUID]) -> dict[UUID, RunProgress]:
        """Where several runs stand; those that are gone are left out."""
        async with connection(self._pool) as conn:
            rows = await _all(conn, "progress", {"run_ids": list(run_ids)})
        return {row.pop("run_id"): RunProgress(**row) for row in rows}

    async def queue(self) -> Queue:
        """Length and age of the queue, for metrics and status."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["queue"])).fetchone()
        assert row is not None
        return Queue(row["depth"], row["age"], row["running"], row["active_threads"], row["checkpoint_bytes"], row["knowledge_bytes"])

    async def ping(self) -> None:
        """Raises StorageUnavailable where the database does not answer."""
        async with connection(self._pool) as conn:
            await conn.execute("SELECT 1")

    # -- workers -------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, lease_seconds: float) -> Run | None:
        """Take a run that may start, with a new epoch: one that has begun, or the one that has waited longest; None when there is none."""
        claimed = await self.claim_several(Claimant(worker, lease_seconds), 1)
        return claimed[0] if claimed else None

    async def claim_several(self, claimant: Claimant, limit: int) -> Sequence[Run]:
        """The same for up to `limit` runs at once, in the order they were accepted, no two of one thread."""
        async with connection(self._pool) as conn:
            for _ in range(CLAIM_ATTEMPTS):
                try:
                    rows = await _all(conn, "claim", {**asdict(claimant), "limit": limit})
                except psycopg.errors.UniqueViolation:
                    continue  # another worker started a run of the same thread at this moment
                return [run_of(row) for row in sorted(rows, key=lambda row: int(row["queue_position"]))]
        return []

    async def give_back_lost(self, worker: str, known: Sequence[UUID], *, older_than: float) -> Sequence[UUID]:
        """Return runs to the queue that a worker holds without knowing: their claim was stored, its answer was lost.

        Args:
            worker: a name no other process has, and none before it had.
            known: runs it knows of.
            older_than: seconds since the claim, so that one whose answer is on its way is left alone.
        """
        arguments = {"worker": worker, "known": list(known), "older_than": older_than}
        async with connection(self._pool) as conn:
            return [row["run_id"] for row in await _all(conn, "give_back_lost", arguments)]

    async def finish(
        self,
        run: Run,
        status: RunStatus,
        *,
        thread_status: Literal["idle", "interrupted", "error"],
        values: bytes | None,
        interrupts: dict[str, Any] | None,
        error: dict[str, Any] | None = None,
        if_expired: bool = False,
        pending: Pending | None = None,
    ) -> bool:
        """End a run and set its thread, in one transaction with the epoch checked.

        False: the claim was lost, or the run is to be rolled back (see `roll_back`); nothing changed.

        Args:
            values: JSON; None leaves the thread's values as they are.
            interrupts: anything a graph may hold; None leaves them as they are.
            error: the same; None where there is none.
            if_expired: only where the lease has run out.
            pending: checkpoints that are stored with it.

        Raises:
            CheckpointsMoved: the pending ones; the saver's `flush` stores them.
        """
        end = _end(run, status, thread_status, values, interrupts, error, if_expired=if_expired)
        async with connection(self._pool) as conn:
            return (await _finish(conn, run, end, pending))[0]

    async def finish_and_claim(
        self,
        run: Run,
        status: RunStatus,
        claimant: Claimant,
        *,
        thread_status: Literal["idle", "interrupted", "error"],
        values: bytes | None,
        interrupts: dict[str, Any] | None,
        error: dict[str, Any] | None = None,
        pending: Pending | None = None,
    ) -> tuple[bool, Run | None]:
        """`finish`, and `claim` for the place that becomes free: one round trip and one commit for both."""
        end = _end(run, status, thread_status, values, interrupts, error)
        async with connection(self._pool) as conn:
            try:
                won, rows = await _finish(conn, run, end, pending, {**asdict(claimant), "limit": 1})
            except psycopg.errors.UniqueViolation:  # as in `claim_several`; it took the end with it
                return (await _finish(conn, run, end, pending))[0], None
        return won, run_of(rows[0]) if rows else None

    async def release(self, run: Run) -> bool:
        """Give a run back at a step boundary; it goes on elsewhere."""
        async with connection(self._pool) as conn:
            return await _one(conn, "release", {"run_id": run.run_id, "epoch": run.epoch}) is not None

    async def postpone(self, run: Run, seconds: float) -> bool:
        """Give a run back to be tried again in `seconds`."""
        async with connection(self._pool) as conn:
            return await _one(conn, "postpone", {"run_id": run.run_id, "epoch": run.epoch, "seconds": seconds}) is not None

    async def roll_back(self, run: Run, *, if_expired: bool = False) -> bool:
        """Remove a run that was asked to be rolled back, with every checkpoint it wrote.

        The thread's row needs no more than its status: a run changes values, interrupts and error only by `finish`.

        Args:
            if_expired: only where the lease has run out.

        Returns:
            False: the claim was lost, or nobody asked; nothing changed.
        """
        async with connection(self._pool) as conn, conn.transaction():
            await conn.execute(SQL["lock_thread_of_run"], {"thread_id": run.thread_id}, prepare=True)
            # First the run: this waits for a checkpoint that is being written, and no more are after it.
            if await _one(conn, "remove", {"run_id": run.run_id, "epoch": run.epoch, "if_expired": if_expired}) is None:
                return False
            await self._forget(conn, run)
            await conn.execute(SQL["settle_thread"], {"thread_id": run.thread_id})
        return True

    async def reap(self, max_attempts: int) -> tuple[Sequence[UUID], Sequence[UUID]]:
        """Return runs with expired leases to the queue. Gives (returned, given up for good)."""
        async with connection(self._pool) as conn:
            returned = [row["run_id"] for row in await _all(conn, "reap", {"max_attempts": max_attempts})]
            poisoned = await _all(conn, "poisoned", {"max_attempts": max_attempts})
        given_up = [row for row in poisoned if await self._give_up(run_of(row), row["worker"])]
        for row in given_up:  # no worker is left that could
            status = {"rollback": "rolled_back", "interrupt": "interrupted"}.get(row["cancel"], "error")
            RUNS.labels(row["graph_id"] or "unknown", status).inc()
        return returned, [row["run_id"] for row in given_up]

    async def _give_up(self, run: Run, worker: str) -> bool:
        if run.cancel == "rollback":
            return await self.roll_back(run, if_expired=True)
        if run.cancel:
            return await self.finish(run, "interrupted", thread_status="idle", values=None, interrupts=None, if_expired=True)
        message = f"the worker executing this run died {run.attempt} times (last: {worker}); not tried again"
        error = {"error": "WorkerDied", "message": message}
        return await self.finish(run, "error", thread_status="error", values=None, interrupts=None, error=error, if_expired=True)

    async def reap_temporary(self, keep_seconds: float) -> int:
        """Remove threads of stateless runs that ended `keep_seconds` ago, with their checkpoints; at most `TEMPORARY_AT_ONCE`."""
        async with connection(self._pool) as conn, conn.transaction():
            gone = [
                row["thread_id"] for row in await _all(conn, "reap_temporary", {"keep_seconds": keep_seconds, "limit": TEMPORARY_AT_ONCE})
            ]
            await delete_threads_within(conn, [str(thread_id) for thread_id in gone])
        return len(gone)


_REQUEST_FIELDS = frozenset(field.name for field in fields(RunRequest))


def _arguments(caller: Caller, target: Target, request: RunRequest, strategy: str, after_seconds: float) -> dict[str, Any]:
    return {
        **caller.arguments(),
        "run_id": new_id(),
        "thread_id": target.thread_id or new_id(),
        "assistant_id": target.assistant_id,
        "graph_id": target.graph_id,
        "request": Jsonb({name: getattr(request, name) for name in _REQUEST_FIELDS} | {"graph_id": target.graph_id}),
        "metadata": Jsonb(request.metadata),
        "thread_config": Jsonb({"configurable": graph_keys(request.config.get("configurable") or {})}),
        "multitask_strategy": strategy,
        "after_seconds": after_seconds,
        **(NO_LIFETIME if target.temporary else lifetime_arguments(target.lifetime)),
    }


def stored_request(stored: Mapping[str, Any]) -> RunRequest:
    """What was written as JSON; keys of other versions are left aside."""
    known = {name: value for name, value in stored.items() if name in _REQUEST_FIELDS}
    for name in ("stream_mode", "interrupt_before", "interrupt_after"):
        if isinstance(known.get(name), list):
            known[name] = tuple(known[name])
    return RunRequest(**known)


def run_of(row: DictRow) -> Run:
    """A row of the table as a value."""
    return Run(
        run_id=row["run_id"],
        thread_id=row["thread_id"],
        assistant_id=row["assistant_id"],
        organisation=row["organisation"],
        owner=row["owner"],
        status=row["status"],
        request=stored_request(row["request"]),
        metadata=row["metadata"],
        multitask_strategy=row["multitask_strategy"],
        epoch=row["epoch"],
        attempt=row["attempt"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        error=row["error"],
        cancel=row["cancel"],
        available_at=row["available_at"],
        started_at=row["started_at"],
        untouched_seconds=row.get("untouched_seconds", 0.0),
    )


def _end(
    run: Run,
    status: RunStatus,
    thread_status: str,
    values: bytes | None,
    interrupts: dict[str, Any] | None,
    error: dict[str, Any] | None,
    *,
    if_expired: bool = False,
) -> dict[str, Any]:
    """Arguments of `lock_thread_of_run` and `finish`."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "epoch": run.epoch,
        "status": status,
        "thread_status": thread_status,
        "values": values.decode() if values is not None else None,
        "interrupts": to_json(interrupts).decode() if interrupts is not None else None,
        "error": to_json(error).decode() if error else None,
        # A thread that is none the worse for it, because the run was refused before it began, stays as it was.
        "thread_error": to_json(error).decode() if error and thread_status == "error" else None,
        "if_expired": if_expired,
    }


async def _finish(
    conn: Connection, run: Run, end: dict[str, Any], pending: Pending | None, claim: dict[str, Any] | None = None
) -> tuple[bool, list[DictRow]]:
    """Store what is pending of a run, end it and, with `claim`, take the next: whether it ended, and what was claimed.

    Statements of a pipeline without BEGIN are one transaction that is committed at its end: one round trip in all, as long as
    no answer is asked for before.
    """
    try:
        async with conn.pipeline():
            # Threads before runs, as everywhere: two transactions never wait for each other.
            await conn.execute(SQL["lock_thread_of_run"], end, prepare=True)
            if pending:
                await conn.execute(pending.statement, pending.arguments, prepare=True)
            ended = await conn.execute(SQL["finish"], end, prepare=True)
            if run.request.webhook:
                await report_ends(conn, [run.run_id])
            claimed = await conn.execute(SQL["claim"], claim, prepare=True) if claim else None
        return await ended.fetchone() is not None, await claimed.fetchall() if claimed else []
    except psycopg.Error as error:
        if error.sqlstate == FENCED:
            return False, []
        if error.sqlstate == TAKEN:
            raise CheckpointsMoved(str(error).splitlines()[0]) from error
        raise


async def _one(conn: Connection, name: str, arguments: dict[str, Any]) -> DictRow | None:
    return await (await conn.execute(SQL[name], arguments, prepare=True)).fetchone()


async def _all(conn: Connection, name: str, arguments: dict[str, Any]) -> list[DictRow]:
    return await (await conn.execute(SQL[name], arguments, prepare=True)).fetchall()
