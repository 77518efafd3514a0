"""Webhook deliveries in Postgres: made where a run ends, claimed by workers, kept for a while to be looked at."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.core.caller import Caller
from freehold.core.run import HIDDEN
from freehold.core.webhook import Delivery, owner_secret
from freehold.storage import queries
from freehold.storage.pool import Pool, as_caller, connection

SQL = queries.load("webhooks")

#: Deliveries that were made or given up stay this long.
KEEP_DAYS = 30


async def report_ends(conn: AsyncConnection[DictRow], run_ids: Sequence[UUID]) -> None:
    """In the transaction that ends runs, behind the end: those with a webhook that did end are reported. No answer is waited for."""
    await conn.execute(SQL["report"], {"run_ids": list(run_ids), "hidden": sorted(HIDDEN)}, prepare=True)


class Webhooks:
    """All other statements on deliveries. `master`: what secrets are derived from; None: one is made at first use and kept here."""

    def __init__(self, pool: Pool, master: str | None = None) -> None:
        self._pool = pool
        self._master = master

    async def secret_of(self, organisation: str, owner: str) -> str:
        """What deliveries of an owner's runs are signed with."""
        if self._master is None:
            self._master = await self._kept_master()
        return owner_secret(self._master, organisation, owner)

    async def _kept_master(self) -> str:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["master"])).fetchone()
            if row is None:
                await conn.execute(SQL["make_master"], {"secret": secrets.token_urlsafe(32)})
                row = await (await conn.execute(SQL["master"])).fetchone()
        assert row is not None
        return str(row["secret"])

    async def of_run(self, caller: Caller, thread_id: UUID, run_id: UUID) -> list[Delivery]:
        """Deliveries of a run of the caller; empty where it asked for none, or there is no such run."""
        async with as_caller(self._pool, caller) as conn:
            rows = await _all(conn, "of_run", {"thread_id": thread_id, "run_id": run_id, **caller.arguments()})
        return [_delivery(row) for row in rows]

    async def claim(self, limit: int, *, seconds: float) -> Sequence[Delivery]:
        """Deliveries to try now; a worker that dies with one leaves it to others after `seconds`."""
        async with connection(self._pool) as conn:
            return [_delivery(row) for row in await _all(conn, "claim", {"limit": limit, "seconds": seconds})]

    async def delivered(self, delivery: Delivery, status: int) -> None:
        """It was taken."""
        await self._settle(delivery, "delivered", status, None, None)

    async def failed(self, delivery: Delivery, error: str, *, status: int | None, again_in: float | None) -> None:
        """It was not taken. `again_in`: seconds until the next try; None gives it up."""
        await self._settle(delivery, "failed" if again_in is None else "pending", status, error, again_in)

    async def _settle(self, delivery: Delivery, status: str, last_status: int | None, error: str | None, seconds: float | None) -> None:
        arguments = {
            "delivery_id": delivery.delivery_id,
            "attempts": delivery.attempts,
            "status": status,
            "last_status": last_status,
            "last_error": error,
            "seconds": seconds,
        }
        async with connection(self._pool) as conn:
            await conn.execute(SQL["settle"], arguments, prepare=True)

    async def forget(self) -> None:
        """Remove deliveries that were over long ago."""
        async with connection(self._pool) as conn:
            await conn.execute(SQL["forget"], {"days": KEEP_DAYS}, prepare=True)


_FIELDS = tuple(field.name for field in fields(Delivery))


def _delivery(row: DictRow) -> Delivery:
    return Delivery(**{name: row[name] for name in _FIELDS})


async def _all(conn: AsyncConnection[DictRow], name: str, arguments: dict[str, Any]) -> list[DictRow]:
    return await (await conn.execute(SQL[name], arguments, prepare=True)).fetchall()
