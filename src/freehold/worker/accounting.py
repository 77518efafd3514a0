"""What quotas and the audit log want done beside the runs: count tokens, measure what is stored, forget old entries."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from freehold.core.errors import StorageUnavailable
from freehold.core.run import Run
from freehold.events.counters import UsageCounters
from freehold.storage.audit import AuditLog
from freehold.storage.quotas import Quotas

log = logging.getLogger(__name__)

#: How often a worker looks whether somebody's storage is to be measured, and whether audit entries are old.
MEASURE_SECONDS = 5.0
FORGET_SECONDS = 3600.0


class Accounting:
    """One per worker process; `quotas` None: nothing is limited, `forget_after` None: entries stay."""

    def __init__(
        self, quotas: Quotas | None, counters: UsageCounters, audit_log: AuditLog | None = None, *, forget_after: timedelta | None = None
    ) -> None:
        self._quotas = quotas
        self._counters = counters
        self._audit_log = audit_log
        self._forget_after = forget_after

    async def run(self) -> None:
        """Until cancelled."""
        jobs = []
        if self._quotas and self._quotas.measures:
            jobs.append(_for_ever(self._measure, MEASURE_SECONDS))
        if self._audit_log and self._forget_after:
            jobs.append(_for_ever(self._forget, FORGET_SECONDS))
        await asyncio.gather(*jobs)

    async def spent(self, run: Run, tokens: int) -> None:
        """What an attempt of a run used, as far as its models said."""
        if tokens and self._quotas and self._quotas.counts_tokens:
            await self._counters.spend(run.organisation, run.owner, tokens)

    async def _measure(self) -> None:
        while self._quotas and await self._quotas.measure():
            pass

    async def _forget(self) -> None:
        if self._audit_log and self._forget_after and (gone := await self._audit_log.forget(self._forget_after)):
            log.info("%d old audit entries removed", gone, extra={"action": "audit_forgotten", "entries": gone})


async def _for_ever(job: Callable[[], Awaitable[None]], pause: float) -> None:
    await asyncio.sleep(MEASURE_SECONDS * random.random())  # noqa: S311 - spread out, not a secret
    while True:
        try:
            await job()
        except StorageUnavailable:
            log.info("accounting waits for the database", extra={"action": "accounting_waits"})
        except Exception:
            # The top of a loop that must not end while the worker lives.
            log.exception("accounting failed; it is tried again", extra={"action": "accounting_failed"})
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spread out, not a secret
