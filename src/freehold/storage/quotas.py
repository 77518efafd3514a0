"""What owners and organisations may use up, asked each time a run is accepted, however it came: over HTTP, by a cron, by a protocol.

Runs at the same time are counted in the transaction that accepts one, so that two at once never both pass. Runs a minute and tokens a
day are counted in Valkey (events/counters.py); while it is away nobody is refused for them. What is stored is measured now and then by
a worker. Where no limit is set there is no `Quotas`, and nothing is asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from freehold.config.settings import QuotasSection
from freehold.core.caller import Caller
from freehold.core.errors import QuotaExceeded
from freehold.storage import queries
from freehold.storage.pool import Pool, connection
from freehold.telemetry.metrics import QUOTA_REFUSED

SQL = queries.load("quotas")

#: SQLSTATE of `admit_run`.
FULL = "FH429"

#: Seconds that what an owner holds is believed by a process, and until it is measured again while somebody asks.
BELIEVED_SECONDS = 5.0
MEASURED_SECONDS = 15.0

#: When to come back where nobody can know: another run must end, something must be deleted.
RUN_SECONDS = 5
SPACE_SECONDS = 60

MEGABYTE = 1_000_000
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Full:
    """A counter that is used up: the key of `[quotas]`, e.g. `organisation.tokens_per_day`, and the seconds until there is room."""

    quota: str
    seconds: int


class Counters(Protocol):
    """What is counted over time."""

    async def admit(self, organisation: str, owner: str, limits: QuotasSection) -> tuple[str, int] | None:
        """Count one more run; or count nothing and say which is used up, as `Full` has it."""


class Quotas:
    """Asked by `Runs.accept`, before and within its transaction."""

    def __init__(self, pool: Pool, limits: QuotasSection, counters: Counters) -> None:
        self._pool = pool
        self._limits = limits
        self._counters = counters
        whole = limits.organisation
        self._counts_runs = bool(limits.runs_per_minute or limits.tokens_per_day or whole.runs_per_minute or whole.tokens_per_day)
        #: Whether it matters what is stored, and what models read and write.
        self.counts_tokens = bool(limits.tokens_per_day or whole.tokens_per_day)
        self.measures = bool(limits.stored_mb or whole.stored_mb)
        self._concurrent = {"owner_limit": limits.concurrent_runs, "organisation_limit": whole.concurrent_runs}
        #: (organisation, owner) -> bytes of the owner, bytes of the organisation, until when that is believed.
        self._stored: dict[tuple[str, str], tuple[int, int, float]] = {}

    async def admit(self, caller: Caller) -> None:
        """Before the accepting transaction. Raises QuotaExceeded."""
        if self.measures:
            await self._check_stored(caller)
        if self._counts_runs and (full := await self._counters.admit(caller.organisation, caller.owner, self._limits)):
            raise _exceeded(Full(*full), self._limits)

    async def hold(self, conn: AsyncConnection[DictRow], caller: Caller) -> None:
        """First in an accepting transaction that locks threads before it knows what it accepts."""
        if any(self._concurrent.values()):
            await conn.execute(SQL["hold_runs"], self._whose(caller), prepare=True)

    async def admit_within(self, conn: AsyncConnection[DictRow], caller: Caller) -> None:
        """In the accepting transaction, right before the run is stored; in a pipeline the error comes with the answer (`refused`)."""
        if any(self._concurrent.values()):
            await conn.execute(SQL["admit_run"], self._whose(caller), prepare=True)

    def refused(self, error: psycopg.Error) -> QuotaExceeded | None:
        """What an error of the accepting transaction means, where it is ours."""
        if error.sqlstate != FULL:
            return None
        return _exceeded(Full(str(error.diag.message_primary), RUN_SECONDS), self._limits)

    async def measure(self) -> bool:
        """Measure what one owner holds; False: nobody was asked about."""
        async with connection(self._pool) as conn:
            whose = await (await conn.execute(SQL["due"], {"seconds": MEASURED_SECONDS})).fetchone()
            if whose is not None:
                await conn.execute(SQL["measure"], whose)
        return whose is not None

    def _whose(self, caller: Caller) -> dict[str, Any]:
        return {"organisation": caller.organisation, "owner": caller.owner, **self._concurrent}

    async def _check_stored(self, caller: Caller) -> None:
        key, now = (caller.organisation, caller.owner), time.monotonic()
        known = self._stored.get(key)
        if known is None or known[2] < now:
            arguments = {"organisation": caller.organisation, "owner": caller.owner, "seconds": BELIEVED_SECONDS}
            async with connection(self._pool) as conn:
                row = await (await conn.execute(SQL["stored"], arguments, prepare=True)).fetchone()
            assert row is not None
            if len(self._stored) >= _REMEMBERED:
                self._stored.clear()
            self._stored[key] = known = (row["owner_bytes"], row["organisation_bytes"], now + BELIEVED_SECONDS)
        for held, limit, name in (
            (known[0], self._limits.stored_mb, "stored_mb"),
            (known[1], self._limits.organisation.stored_mb, "organisation.stored_mb"),
        ):
            if limit and held >= limit * MEGABYTE:
                raise _exceeded(Full(name, SPACE_SECONDS), self._limits)


#: What is used up, by key.
_SAID = {
    "runs_per_minute": "{limit} runs a minute were started",
    "concurrent_runs": "{limit} runs are waiting or being executed",
    "stored_mb": "{limit} MB are stored",
    "tokens_per_day": "{limit} tokens were used today",
}


def _exceeded(full: Full, limits: QuotasSection) -> QuotaExceeded:
    name = full.quota.rpartition(".")[2]
    limit = getattr(limits.organisation if full.quota.startswith("organisation.") else limits, name)
    whose = "by your organisation" if full.quota.startswith("organisation.") else "by you"
    QUOTA_REFUSED.labels(full.quota).inc()
    what = "remove something" if name == "stored_mb" else "let one end" if name == "concurrent_runs" else f"try again in {full.seconds} s"
    return QuotaExceeded(
        f"{_SAID[name].format(limit=limit)} {whose}, which is the quota",
        hint=f"{what}; quotas.{full.quota} in the server's freehold.toml sets it",
        retry_after_seconds=max(1, full.seconds),
    )


def create_quotas(pool: Pool, limits: QuotasSection, counters: Counters) -> Quotas | None:
    """None where no limit is set."""
    return None if limits == QuotasSection() else Quotas(pool, limits, counters)
