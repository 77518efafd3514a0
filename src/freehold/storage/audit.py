"""The audit log in Postgres: who did what, when, from where and how it ended. Entries are added and, once old, forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.storage import queries
from freehold.storage.pool import Pool, as_caller, connection

SQL = queries.load("audit")

#: Entries younger than this are never forgotten; the database's function has it too.
LEAST_AGE = timedelta(days=1)


@dataclass(frozen=True)
class AuditEntry:
    """One thing somebody did, or was refused."""

    at: datetime
    #: Empty where nobody was recognised, like the next two.
    organisation: str
    owner: str
    #: `key:UUID` or `token:SUBJECT`.
    credential: str
    #: `threads.delete`; where no rights were asked for, the method and path of the route.
    action: str
    #: Ids by name, e.g. `{"thread_id": "…"}`.
    objects: Mapping[str, str]
    #: HTTP status of the answer.
    status: int
    request_id: str
    address: str
    #: Rises with each entry; 0 before it is stored.
    entry_id: int = 0


@dataclass(frozen=True)
class AuditFilter:
    """Which entries: of one owner, of one action (`threads.delete`) or resource (`threads`), since a moment or for an age."""

    owner: str | None = None
    action: str | None = None
    since: datetime | timedelta | None = None


class AuditLog:
    """All statements on the audit_log table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries, all or none. Raises StorageUnavailable."""
        names = ("at", "organisation", "owner", "credential", "action", "status", "request_id", "address")
        columns: dict[str, list[Any]] = {name: [getattr(entry, name) for entry in entries] for name in names}
        columns["objects"] = [to_json(dict(entry.objects)).decode() for entry in entries]
        async with connection(self._pool) as conn:
            await conn.execute(SQL["append"], columns)

    async def list(self, caller: Caller, wanted: AuditFilter, *, limit: int, offset: int = 0) -> Sequence[AuditEntry]:
        """Entries of the caller's organisation, whoever's they are, newest first. Whether the caller may see them is asked before."""
        reader = replace(caller, shared=True)
        async with as_caller(self._pool, reader) as conn:
            arguments = {**await _arguments(conn, wanted, limit, offset), **reader.arguments()}
            return [AuditEntry(**row) for row in await (await conn.execute(SQL["list"], arguments)).fetchall()]

    async def list_all(self, wanted: AuditFilter, *, limit: int, offset: int = 0) -> Sequence[AuditEntry]:
        """The same for all organisations, and for those nobody recognised: for who operates the stack."""
        async with connection(self._pool) as conn:
            arguments = await _arguments(conn, wanted, limit, offset)
            return [AuditEntry(**row) for row in await (await conn.execute(SQL["list_all"], arguments)).fetchall()]

    async def forget(self, older_than: timedelta) -> int:
        """Remove entries of this age, of a day at least; how many."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["forget"], {"older_than": older_than})).fetchone()
        return int(row["gone"]) if row else 0


async def _arguments(conn: Any, wanted: AuditFilter, limit: int, offset: int) -> dict[str, Any]:
    since = wanted.since
    if isinstance(since, timedelta):
        since = (await (await conn.execute(SQL["moment"], {"age": since})).fetchone())["since"]
    return {"by": wanted.owner, "action": wanted.action, "since": since, "limit": limit, "offset": offset}
