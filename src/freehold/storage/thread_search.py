"""Finding threads: a page of ids from the indexes, then those threads as the caller may see them.

Two steps, because row-level security keeps a request from the indexes on metadata and values (migration 0012 says why). The first
runs as the owner of the tables and applies the caller of the transaction by itself; the second reads under the policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.core.extract import Path
from freehold.storage import queries
from freehold.storage.pool import Pool, act_for, as_caller, connection, unstorable
from freehold.storage.threads import Thread, ThreadStatus, thread_of

SQL = queries.load("thread_search")

#: Columns a client may sort by.
SORT_COLUMNS = frozenset({"thread_id", "status", "created_at", "updated_at", "state_updated_at"})

#: Matches behind a page that are counted, so that a search costs the same however many there are.
COUNTED_BEYOND = 1000


@dataclass(frozen=True)
class ThreadFilter:
    """What to search for; None does not restrict."""

    metadata: dict[str, Any] | None = None
    values: dict[str, Any] | None = None
    status: ThreadStatus | None = None
    ids: list[UUID] | None = None
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: int = 10
    offset: int = 0
    #: What to take out of each thread, by the name it is shown under.
    extract: Mapping[str, Path] = field(default_factory=dict)
    #: Whether the values are wanted; they may be large.
    with_values: bool = True


@dataclass(frozen=True)
class Found:
    """One page.

    `total`: all that match; where more than `COUNTED_BEYOND` lie behind the page, there are at least so many.
    `extracted`: for each thread what was taken out of it, None where nothing was asked for.
    """

    threads: list[Thread]
    total: int
    extracted: list[dict[str, Any] | None]


class ThreadSearch:
    """Statements that find threads."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, caller: Caller, wanted: ThreadFilter) -> Found:
        """Threads that match, in order.

        Raises:
            InvalidRequest: `sort_by` is not a column clients may sort by, or a filter holds what no row can.
        """
        if wanted.sort_by not in SORT_COLUMNS:
            raise InvalidRequest(f"sort_by: expected one of {', '.join(sorted(SORT_COLUMNS))}, got {wanted.sort_by[:100]!r}")
        arguments = {
            **_matching(caller, wanted),
            "sort_by": wanted.sort_by,
            "descending": wanted.sort_order == "desc",
            "limit": wanted.limit,
            "offset": wanted.offset,
            "with_values": wanted.with_values,
            **_extraction(wanted.extract),
        }
        try:
            async with as_caller(self._pool, caller) as conn:
                rows = await (await conn.execute(SQL["search"], arguments)).fetchall()
                total = wanted.offset + len(rows)
                if len(rows) == wanted.limit or (wanted.offset and not rows):  # else the end of the page is the end of them all
                    total = await _count(conn, arguments, most=wanted.offset + wanted.limit + COUNTED_BEYOND)
        except psycopg.DataError as error:
            raise unstorable(error, "the filter") from error
        return Found([thread_of(row) for row in rows], total, [row["extracted"] for row in rows])

    async def count(self, caller: Caller, wanted: ThreadFilter) -> int:
        """All threads that match, counted to the end."""
        try:
            async with connection(self._pool) as conn:
                async with conn.pipeline():
                    await act_for(conn, caller)
                    answer = await conn.execute(SQL["count"], {**_matching(caller, wanted), "most": None})
                row = await answer.fetchone()
        except psycopg.DataError as error:
            raise unstorable(error, "the filter") from error
        return int(row["total"]) if row else 0


async def _count(conn: AsyncConnection[DictRow], arguments: dict[str, Any], *, most: int) -> int:
    row = await (await conn.execute(SQL["count"], {**arguments, "most": most})).fetchone()
    return int(row["total"]) if row else 0


def _matching(caller: Caller, wanted: ThreadFilter) -> dict[str, Any]:
    return {
        **caller.arguments(),
        "metadata": Jsonb(wanted.metadata or {}),
        "values": Jsonb(wanted.values or {}),
        "status": wanted.status,
        "ids": wanted.ids,
    }


def _extraction(paths: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "names": list(paths),
        "roots": [path.root for path in paths.values()],
        "paths": [path.jsonpath for path in paths.values()],
        "lists": [path.is_list for path in paths.values()],
    }
