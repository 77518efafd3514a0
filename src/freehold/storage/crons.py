"""Crons in Postgres: kept for their owners, and fired by workers.

A firing is one transaction: the cron's row is locked, its run accepted and its next date set. Whoever dies in the middle leaves the
cron as it was, and the next worker that looks fires it; two that look at once never get the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.assistant import Settings, executed
from freehold.core.caller import Caller
from freehold.core.cron import Cron, acting, next_firing
from freehold.core.errors import FreeholdError, InvalidRequest, NotFound
from freehold.core.run import Run
from freehold.core.schedule import Schedule
from freehold.storage import queries
from freehold.storage.assistants import assistant_within
from freehold.storage.lifetime import TimeToLive
from freehold.storage.pool import Pool, as_caller, connection, unstorable
from freehold.storage.runs import Accepted, Runs, Target, stored_request

SQL = queries.load("crons")

#: Columns a client may sort by.
SORT_COLUMNS = frozenset({"cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"})

#: Classes of errors that another try does not meet: two transactions that waited for each other, a lock that was not to be had.
_PASSING = ("40", "55")

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True)
class CronFilter:
    """What to search for; None does not restrict."""

    assistant_id: UUID | None = None
    thread_id: UUID | None = None
    enabled: bool | None = None
    metadata: dict[str, Any] | None = None
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True)
class Firing:
    """What became of a cron that was due. `accepted` None: no run was started, and `error` says why."""

    cron: Cron
    accepted: Accepted | None = None
    error: str | None = None


class Crons:
    """All statements on the crons table. `lifetime`: that of threads which firings make and keep."""

    def __init__(self, pool: Pool, runs: Runs, *, lifetime: TimeToLive | None = None) -> None:
        self._pool = pool
        self._runs = runs
        self._lifetime = lifetime

    # -- requests ------------------------------------------------------------------------------------------------

    async def create(self, caller: Caller, cron: Cron, *, runner: Caller | None = None) -> Cron:
        """Store a new cron of the caller.

        Args:
            runner: the caller as the project's rules let them start runs; None: they may as they may make crons.

        Raises:
            NotFound: its thread does not exist or is not the caller's.
            InvalidRequest: it holds what Postgres cannot store.
        """
        runner = runner or caller
        runs = {"runs_shared": runner.shared, "runs_must": runner.must, "runs_assistants": runner.assistants}
        arguments = {**_arguments(cron), **caller.arguments(), **runs}
        try:
            async with as_caller(self._pool, runner) as conn:
                if cron.thread_id is not None and await _one(conn, "thread_is_there", {**arguments, **runner.arguments()}) is None:
                    raise NotFound(f"Thread with ID {cron.thread_id} not found")
                row = await _one(conn, "create", arguments)
        except psycopg.DataError as error:
            raise unstorable(error, "the cron") from error
        assert row is not None
        return _cron(row)

    async def get(self, caller: Caller, cron_id: UUID) -> Cron:
        """Raises NotFound where the caller has no such cron."""
        async with as_caller(self._pool, caller) as conn:
            return _found(await _one(conn, "get", {"cron_id": cron_id, **caller.arguments()}), cron_id)

    async def change(self, caller: Caller, cron_id: UUID, altered: Callable[[Cron], Cron]) -> Cron:
        """Put what `altered` makes of a cron in its place; it does not fire meanwhile. Raises NotFound, InvalidRequest."""
        arguments = {"cron_id": cron_id, **caller.arguments()}
        try:
            async with as_caller(self._pool, caller) as conn:
                held = _found(await _one(conn, "hold", arguments), cron_id)
                row = await _one(conn, "change", {**_arguments(altered(held)), **arguments})
        except psycopg.DataError as error:
            raise unstorable(error, "the cron") from error
        return _found(row, cron_id)

    async def delete(self, caller: Caller, cron_id: UUID) -> None:
        """Raises NotFound. Runs it has started go on."""
        async with as_caller(self._pool, caller) as conn:
            if await _one(conn, "delete", {"cron_id": cron_id, **caller.arguments()}) is None:
                raise NotFound(f"Cron with ID {cron_id} not found")

    async def search(self, caller: Caller, wanted: CronFilter) -> tuple[list[Cron], int]:
        """One page of crons and the number of all that match (0 where the page lies behind the end).

        Raises:
            InvalidRequest: `sort_by` is not a column clients may sort by.
        """
        if wanted.sort_by not in SORT_COLUMNS:
            raise InvalidRequest(f"sort_by: expected one of {', '.join(sorted(SORT_COLUMNS))}, got {wanted.sort_by!r}")
        statement = sql.SQL(SQL["search"]).format(
            sort_by=sql.Identifier(wanted.sort_by), sort_order=sql.SQL("ASC" if wanted.sort_order == "asc" else "DESC")
        )
        async with as_caller(self._pool, caller) as conn:
            rows = await (await conn.execute(statement, _filter(caller, wanted))).fetchall()
        return [_cron(row) for row in rows], rows[0]["total"] if rows else 0

    async def count(self, caller: Caller, wanted: CronFilter) -> int:
        """How many match, whatever the page."""
        async with as_caller(self._pool, caller) as conn:
            row = await _one(conn, "count", _filter(caller, wanted))
        return int(row["total"]) if row else 0

    # -- workers -------------------------------------------------------------------------------------------------

    async def fire_next(self) -> Firing | None:
        """Fire the cron that has been due longest; None: none is due, or other workers are at it.

        However many dates were missed, there is one firing. One that fails for a reason nobody foresaw is skipped, so that it does not
        stand in the way of all others: `Firing.error` tells.
        """
        held: Cron | None = None
        try:
            async with connection(self._pool) as conn, conn.transaction():
                row = await _one(conn, "due", {})
                if row is None:
                    return None
                held = _cron(row)
                firing, following = await self._fire(conn, held, row["at"])
                await _advance(conn, firing, following)
            return firing
        except psycopg.DatabaseError as error:
            if held is None or (error.sqlstate or "").startswith(_PASSING):
                raise
            return await self._skip(held, f"{type(error).__name__} while its run was accepted")

    async def _fire(self, conn: Connection, cron: Cron, at: datetime) -> tuple[Firing, datetime | None]:
        """Within the transaction that holds the cron: accept its run; what became of it and when it is due next."""
        try:
            following = next_firing(Schedule.parse(cron.schedule, cron.timezone), cron.end_time, at)
        except InvalidRequest as error:  # a zone that this machine's data do not have any more
            return Firing(replace(cron, enabled=False), error=f"disabled: {error.message}"), cron.next_run_date
        if cron.end_time is not None and cron.end_time < at:  # it was due, but nobody looked before its end
            return Firing(cron, error=f"its end time {cron.end_time.isoformat()} has passed"), None
        try:
            return Firing(cron, await self._accept(conn, cron)), following
        except NotFound as error:
            return Firing(replace(cron, enabled=False), error=f"disabled: {error.message}"), following
        except FreeholdError as error:  # its thread is busy and the strategy is "reject", a quota is used up
            return Firing(cron, error=error.message), following

    async def _accept(self, conn: Connection, cron: Cron) -> Accepted:
        caller = acting(cron, cron_id=str(cron.cron_id)) if cron.thread_id is None else acting(cron)  # marks the firing's own thread
        assistant = await assistant_within(conn, caller.running(), cron.assistant_id)
        is_temporary = cron.on_run_completed == "delete"
        target = Target(cron.assistant_id, assistant.graph_id, cron.thread_id, temporary=is_temporary, lifetime=self._lifetime)
        due = cron.next_run_date.isoformat() if cron.next_run_date else None
        metadata = {**cron.metadata, "cron_id": str(cron.cron_id), "cron_run_date": due}
        request = executed(stored_request({**cron.request, "metadata": metadata}), Settings.of(assistant))
        configurable = {**(request.config.get("configurable") or {}), "cron_id": str(cron.cron_id)}
        request = replace(request, config={**request.config, "configurable": configurable})
        return await self._runs.accept_within(conn, caller, target, request, strategy=cron.multitask_strategy)

    async def _skip(self, cron: Cron, error: str) -> Firing | None:
        async with connection(self._pool) as conn, conn.transaction():
            row = await _one(conn, "due", {})
            if row is None or row["cron_id"] != cron.cron_id:
                return None
            following = next_firing(Schedule.parse(cron.schedule, cron.timezone), cron.end_time, row["at"])
            firing = Firing(cron, error=error)
            await _advance(conn, firing, following)
        return firing

    async def seconds_to_next(self) -> float | None:
        """Until the next cron is due, negative where one is; None where there is none."""
        async with connection(self._pool) as conn:
            row = await _one(conn, "seconds_to_next", {})
        return row["seconds"] if row else None


async def _advance(conn: Connection, firing: Firing, following: datetime | None) -> None:
    run: Run | None = firing.accepted.run if firing.accepted else None
    await conn.execute(
        SQL["advance"],
        {
            "cron_id": firing.cron.cron_id,
            "next_run_date": following,
            "enabled": firing.cron.enabled,
            "last_error": firing.error,
            "run_id": run.run_id if run else None,
        },
        prepare=True,
    )


_FIELDS = tuple(field.name for field in fields(Cron))


def _cron(row: DictRow) -> Cron:
    return Cron(**{name: row[name] for name in _FIELDS})


def _found(row: DictRow | None, cron_id: UUID) -> Cron:
    if row is None:
        raise NotFound(f"Cron with ID {cron_id} not found")
    return _cron(row)


def _arguments(cron: Cron) -> dict[str, Any]:
    """Columns by name; who may see it is the caller's to say."""
    columns = {name: value for name, value in asdict(cron).items() if name not in {"organisation", "owner", "shared", "must", "assistants"}}
    return {**columns, "payload": Jsonb(cron.payload), "request": Jsonb(cron.request), "metadata": Jsonb(cron.metadata)}


def _filter(caller: Caller, wanted: CronFilter) -> dict[str, Any]:
    return {**asdict(wanted), **caller.arguments(), "metadata": Jsonb(wanted.metadata) if wanted.metadata else None}


async def _one(conn: Connection, name: str, arguments: dict[str, Any]) -> DictRow | None:
    return await (await conn.execute(SQL[name], arguments, prepare=True)).fetchone()
