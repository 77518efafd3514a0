"""Assistants in Postgres: the system assistant of every graph, made when a server or worker starts, and those of clients with their
versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.assistant import Assistant
from freehold.core.caller import Caller
from freehold.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from freehold.core.ids import assistant_id, new_id
from freehold.storage import queries
from freehold.storage.checkpointer.upkeep import delete_threads_within
from freehold.storage.pool import Pool, act_as_process, as_caller, connection, rows_of, unstorable

SQL = queries.load("assistants")

SORT_COLUMNS = frozenset({"assistant_id", "graph_id", "name", "created_at", "updated_at"})

_FIELDS = tuple(field.name for field in fields(Assistant))


@dataclass(frozen=True)
class AssistantFilter:
    """What to search for; None does not restrict."""

    graph_id: str | None = None
    metadata: dict[str, Any] | None = None
    name: str | None = None
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True)
class NewAssistant:
    """An assistant to be made."""

    graph_id: str
    assistant_id: UUID | None = None
    name: str = "Untitled"
    description: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AssistantChange:
    """What the next version of an assistant differs in; None leaves a part as it is, metadata is merged."""

    graph_id: str | None = None
    name: str | None = None
    description: str | None = None
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AssistantVersion:
    """What an assistant was once, or is now."""

    assistant_id: UUID
    version: int
    graph_id: str
    name: str
    description: str | None
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    created_at: datetime


class Assistants:
    """All statements on the assistants table and their versions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sync(self, graphs: Mapping[str, str | None]) -> None:
        """Make the system assistant of each graph (id -> description)."""
        async with connection(self._pool) as conn:
            for graph_id, description in sorted(graphs.items()):  # sorted: several processes start at once and must not deadlock
                await conn.execute(
                    SQL["sync"],
                    {"assistant_id": assistant_id(graph_id), "graph_id": graph_id, "name": graph_id, "description": description},
                )

    async def create(self, caller: Caller, new: NewAssistant, *, if_exists: Literal["raise", "do_nothing"] = "raise") -> Assistant:
        """Raises Conflict where the id is taken (by anybody) and `if_exists` does not allow it, or it is somebody else's."""
        wanted = new.assistant_id or new_id()
        arguments = {**caller.arguments(), **_columns(new), "assistant_id": wanted}
        try:
            async with as_caller(self._pool, caller) as conn:
                row = await _one(conn, SQL["create"], arguments)
                if row is None and if_exists == "do_nothing":
                    row = await _one(conn, SQL["get"], arguments)
        except psycopg.DataError as error:
            raise unstorable(error, "the assistant") from error
        if row is None:
            raise Conflict(f"Assistant with ID {wanted} already exists", hint='choose another id, or pass if_exists="do_nothing"')
        return _assistant(row)

    async def get(self, caller: Caller, wanted: UUID) -> Assistant:
        """Raises NotFound where the caller may not use such an assistant."""
        rows = await rows_of(self._pool, caller, SQL["get"], {"assistant_id": wanted})
        if not rows:
            raise NotFound(f"Assistant with ID {wanted} not found")
        return _assistant(rows[0])

    async def change(self, caller: Caller, wanted: UUID, change: Callable[[Assistant], AssistantChange]) -> Assistant:
        """Make a new version, which is the current one then; `change` is told the one before.

        Raises:
            NotFound: no such assistant of the caller.
            Forbidden: a system assistant.
        """
        try:
            async with as_caller(self._pool, caller) as conn:
                current = await self._hold(conn, caller, wanted)
                arguments = {**caller.arguments(), **_columns(change(current)), "assistant_id": wanted}
                row = await _one(conn, SQL["change"], arguments)
        except psycopg.DataError as error:
            raise unstorable(error, "the assistant") from error
        assert row is not None  # it is held
        return _assistant(row)

    async def set_latest(self, caller: Caller, wanted: UUID, version: int) -> Assistant:
        """Make an earlier version the current one; the next change is a version after the newest all the same.

        Raises:
            NotFound: no such assistant of the caller, or no such version of it.
            Forbidden: a system assistant.
        """
        async with as_caller(self._pool, caller) as conn:
            await self._hold(conn, caller, wanted)
            row = await _one(conn, SQL["set_latest"], {**caller.arguments(), "assistant_id": wanted, "version": version})
        if row is None:
            raise NotFound(f"Version {version} not found for assistant {wanted}")
        return _assistant(row)

    async def versions(
        self, caller: Caller, wanted: UUID, *, metadata: dict[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> tuple[list[AssistantVersion], int]:
        """One page of an assistant's versions, newest first, and the number of all that match. Raises NotFound."""
        arguments = {
            **caller.arguments(),
            "assistant_id": wanted,
            "filter": Jsonb(metadata) if metadata else None,
            "limit": limit,
            "offset": offset,
        }
        async with as_caller(self._pool, caller) as conn:
            assistant = await assistant_within(conn, caller, wanted)
            if assistant.is_system:
                matches = all(assistant.metadata.get(key) == value for key, value in (metadata or {}).items())
                only = [_only_version(assistant)] if matches else []
                return only[offset : offset + limit], len(only)
            rows = await (await conn.execute(SQL["versions"], arguments)).fetchall()
        total = rows[0]["total"] if rows else 0
        return [AssistantVersion(**{key: value for key, value in row.items() if key != "total"}) for row in rows], total

    async def delete(self, caller: Caller, wanted: UUID, *, with_threads: Caller | None = None) -> int:
        """Remove an assistant and its versions; runs that were accepted keep what they were given.

        Args:
            with_threads: also the caller's own threads that ran it last, with their runs and checkpoints; the caller as they may
                delete threads.

        Returns:
            How many threads went.

        Raises:
            NotFound: no such assistant of the caller.
            Forbidden: a system assistant.
        """
        arguments = {**caller.arguments(), "assistant_id": wanted}
        async with as_caller(self._pool, caller) as conn:
            await self._hold(conn, caller, wanted)
            found: list[UUID] = []
            if with_threads:
                # Rules that let somebody delete assistants of others say nothing of the threads of others.
                own = {**arguments, **replace(with_threads, shared=False).arguments()}
                found = [row["thread_id"] for row in await (await conn.execute(SQL["threads"], own)).fetchall()]
                await conn.execute(SQL["delete_threads"], {**own, "thread_ids": found})
            await conn.execute(SQL["delete"], arguments)
            await act_as_process(conn)
            await delete_threads_within(conn, [str(thread_id) for thread_id in found])
        return len(found)

    async def _hold(self, conn: AsyncConnection[DictRow], caller: Caller, wanted: UUID) -> Assistant:
        """Lock an assistant of the caller's until the transaction ends; the next statement sees what was changed before."""
        if row := await _one(conn, SQL["hold"], {"assistant_id": wanted, **caller.arguments()}):
            return _assistant(row)
        assistant = await assistant_within(conn, caller, wanted)
        assert assistant.is_system
        raise Forbidden(
            f"\"{assistant.name}\" is the system's assistant of its graph and everybody's: it cannot be changed or deleted",
            hint=f'make one of your own: POST /assistants {{"graph_id": "{assistant.graph_id}"}}',
        )

    async def search(self, caller: Caller, wanted: AssistantFilter, *, loaded: list[str]) -> tuple[list[Assistant], int]:
        """One page and the number of all that match; system assistants only of graphs in `loaded`."""
        if wanted.sort_by not in SORT_COLUMNS:
            raise InvalidRequest(f"sort_by: expected one of {', '.join(sorted(SORT_COLUMNS))}, got {wanted.sort_by!r}")
        statement = sql.SQL(SQL["search"]).format(
            sort_by=sql.Identifier(wanted.sort_by), sort_order=sql.SQL("ASC" if wanted.sort_order == "asc" else "DESC")
        )
        arguments = {**_conditions(caller, wanted, loaded), "limit": wanted.limit, "offset": wanted.offset}
        async with as_caller(self._pool, caller) as conn:
            rows = await (await conn.execute(statement, arguments)).fetchall()
            if not rows and wanted.offset:
                return [], await self._count(conn, arguments)
        return [_assistant(row) for row in rows], rows[0]["total"] if rows else 0

    async def count(self, caller: Caller, wanted: AssistantFilter, *, loaded: list[str]) -> int:
        """How many a search would find in all."""
        async with as_caller(self._pool, caller) as conn:
            return await self._count(conn, _conditions(caller, wanted, loaded))

    async def _count(self, conn: AsyncConnection[DictRow], arguments: dict[str, Any]) -> int:
        row = await _one(conn, SQL["count"], arguments)
        assert row is not None
        return int(row["total"])


def _conditions(caller: Caller, wanted: AssistantFilter, loaded: list[str]) -> dict[str, Any]:
    name = wanted.name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") if wanted.name else None
    return {
        **caller.arguments(),
        "loaded": loaded,
        "graph_id": wanted.graph_id,
        "filter": Jsonb(wanted.metadata) if wanted.metadata else None,
        "name": name,
    }


async def assistant_within(conn: AsyncConnection[DictRow], caller: Caller, wanted: UUID) -> Assistant:
    """`Assistants.get` as a part of a transaction that is open. Raises NotFound."""
    row = await _one(conn, SQL["get"], {"assistant_id": wanted, **caller.arguments()})
    if row is None:
        raise NotFound(f"Assistant with ID {wanted} not found")
    return _assistant(row)


def _columns(given: NewAssistant | AssistantChange) -> dict[str, Any]:
    return {
        "graph_id": given.graph_id,
        "name": given.name,
        "description": given.description,
        "config": None if given.config is None else Jsonb(given.config),
        "context": None if given.context is None else Jsonb(given.context),
        "metadata": Jsonb(given.metadata),
    }


def _assistant(row: DictRow) -> Assistant:
    return Assistant(**{name: row[name] for name in _FIELDS})


def _only_version(assistant: Assistant) -> AssistantVersion:
    return AssistantVersion(**{item.name: getattr(assistant, item.name) for item in fields(AssistantVersion)})


async def _one(conn: AsyncConnection[DictRow], statement: LiteralString, arguments: dict[str, Any]) -> DictRow | None:
    return await (await conn.execute(statement, arguments)).fetchone()
