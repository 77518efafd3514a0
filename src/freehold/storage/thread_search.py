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
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.core.extract import Path
from freehold.storage import queries
from freehold.storage.pool import Pool, rows_of, unstorable
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
            "most": wanted.offset + wanted.limit + COUNTED_BEYOND,
            "with_values": wanted.with_values,
            **_extraction(wanted.extract),
        }
        try:
            rows = await rows_of(self._pool, caller, SQL["search"], arguments)
        except psycopg.DataError as error:
            raise unstorable(error, "the filter") from error
        if not rows and wanted.offset:
            return Found([], await self.count(caller, wanted, most=arguments["most"]), [])
        total = rows[0]["total"] if rows else 0
        return Found([thread_of(row) for row in rows], total, [row["extracted"] for row in rows])

    async def count(self, caller: Caller, wanted: ThreadFilter, *, most: int | None = None) -> int:
        """All threads that match, counted to the end or up to `most`. Raises InvalidRequest as `page`."""
        try:
            rows = await rows_of(self._pool, caller, SQL["count"], {**_matching(caller, wanted), "most": most})
        except psycopg.DataError as error:
            raise unstorable(error, "the filter") from error
        return int(rows[0]["total"])


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
