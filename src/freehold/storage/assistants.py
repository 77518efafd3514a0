"""Assistants in Postgres: for now the system assistant of every graph, made when a server or worker starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest, NotFound
from freehold.core.ids import assistant_id
from freehold.storage import queries
from freehold.storage.pool import Pool, as_caller, connection, rows_of

SQL = queries.load("assistants")

SORT_COLUMNS = frozenset({"assistant_id", "graph_id", "name", "created_at", "updated_at"})


@dataclass(frozen=True)
class Assistant:
    """A row of the assistants table; organisation and owner are None for system assistants."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    version: int
    organisation: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime


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


class Assistants:
    """All statements on the assistants table."""

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

    async def get(self, caller: Caller, wanted: UUID) -> Assistant:
        """Raises NotFound where the caller may not use such an assistant."""
        rows = await rows_of(self._pool, caller, SQL["get"], {"assistant_id": wanted})
        if not rows:
            raise NotFound(f"Assistant with ID {wanted} not found")
        return Assistant(**rows[0])

    async def search(self, caller: Caller, wanted: AssistantFilter, *, loaded: list[str]) -> tuple[list[Assistant], int]:
        """One page and the number of all that match; only assistants of graphs in `loaded`."""
        if wanted.sort_by not in SORT_COLUMNS:
            raise InvalidRequest(f"sort_by: expected one of {', '.join(sorted(SORT_COLUMNS))}, got {wanted.sort_by!r}")
        statement = sql.SQL(SQL["search"]).format(
            sort_by=sql.Identifier(wanted.sort_by), sort_order=sql.SQL("ASC" if wanted.sort_order == "asc" else "DESC")
        )
        name = wanted.name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") if wanted.name else None
        arguments = {
            **caller.arguments(),
            "loaded": loaded,
            "graph_id": wanted.graph_id,
            "metadata": Jsonb(wanted.metadata) if wanted.metadata else None,
            "name": name,
            "limit": wanted.limit,
            "offset": wanted.offset,
        }
        async with as_caller(self._pool, caller) as conn:
            rows = await (await conn.execute(statement, arguments)).fetchall()
        total = rows[0]["total"] if rows else 0
        return [Assistant(**{key: value for key, value in row.items() if key != "total"}) for row in rows], total
