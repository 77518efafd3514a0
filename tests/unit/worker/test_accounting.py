"""What a worker does for quotas and the audit log, on a real database and a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from freehold.config.settings import QuotasSection
from freehold.core.caller import Caller
from freehold.core.errors import QuotaExceeded
from freehold.events.counters import UsageCounters
from freehold.events.log import create_client
from freehold.storage.audit import AuditEntry, AuditFilter, AuditLog
from freehold.storage.pool import Pool, create_pool
from freehold.storage.quotas import Quotas
from freehold.worker import accounting
from freehold.worker.accounting import Accounting

ADA = Caller("acme", "ada")


@dataclass(frozen=True)
class Services:
    pool: Pool
    counters: UsageCounters

    def quotas(self, **limits: Any) -> Quotas:
        return Quotas(self.pool, QuotasSection.model_validate(limits), self.counters)


@pytest.fixture
async def services(database_url: str, valkey_url: str) -> AsyncIterator[Services]:
    client = create_client(valkey_url)
    async with create_pool(database_url, max_size=3) as pool:
        yield Services(pool, UsageCounters(client))
    await client.aclose()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(accounting, "FORGET_SECONDS", 0.01)


async def until(working: Accounting, done: Any) -> None:
    """Let it work until `done` says so."""
    task = asyncio.create_task(working.run())
    async with asyncio.timeout(20):
        while not await done():
            await asyncio.sleep(0.02)
            assert not task.done() or task.exception() is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tokens_of_a_run_count_for_its_owner(services: Services) -> None:
    quotas = services.quotas(tokens_per_day=100)
    run: Any = SimpleNamespace(organisation="acme", owner="ada")
    working = Accounting(quotas, services.counters)
    await working.spent(run, 60)
    await quotas.admit(ADA)
    await working.spent(run, 60)
    with pytest.raises(QuotaExceeded, match="100 tokens were used today"):
        await quotas.admit(ADA)
    await quotas.admit(Caller("acme", "bob"))


async def test_nothing_is_counted_where_nothing_is_limited(services: Services, valkey_url: str) -> None:
    run: Any = SimpleNamespace(organisation="acme", owner="ada")
    for quotas in (None, services.quotas(concurrent_runs=5)):
        await Accounting(quotas, services.counters).spent(run, 60)
    client = create_client(valkey_url)
    assert await client.keys("freehold:quota:*") == []
    await client.aclose()


async def test_what_an_owner_holds_is_measured_once_somebody_asks(services: Services) -> None:
    quotas = services.quotas(stored_mb=1)
    async with services.pool.connection() as conn:
        await conn.execute(
            "INSERT INTO freehold.threads (thread_id, organisation, owner, metadata)"
            " VALUES (gen_random_uuid(), 'acme', 'ada', jsonb_build_object('x', repeat('y', 5000)))"
        )
    await quotas.admit(ADA)

    async def measured() -> bool:
        async with services.pool.connection() as conn:
            rows = await (await conn.execute("SELECT stored_bytes FROM freehold.usage WHERE owner = 'ada'")).fetchall()
        return bool(rows and rows[0]["stored_bytes"])

    await until(Accounting(quotas, services.counters), measured)


async def test_old_audit_entries_are_forgotten(services: Services) -> None:
    log = AuditLog(services.pool)
    entries = [
        AuditEntry(datetime.now(UTC) - timedelta(days=days), "acme", "ada", "", f"threads.{days}", {}, 200, "", "") for days in (400, 10, 0)
    ]
    await log.append(entries)

    async def forgotten() -> bool:
        return len(await log.list_all(AuditFilter(), limit=10)) == 2

    await until(Accounting(None, services.counters, log, forget_after=timedelta(days=365)), forgotten)
    assert [entry.action for entry in await log.list_all(AuditFilter(), limit=10)] == ["threads.0", "threads.10"]


async def test_it_goes_on_where_a_look_fails(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    class Failing(AuditLog):
        async def forget(self, older_than: timedelta) -> int:
            nonlocal looks
            looks += 1
            raise ValueError("once more")

    async def looked_again() -> bool:
        return looks >= 3

    await until(Accounting(None, services.counters, Failing(services.pool), forget_after=timedelta(days=1)), looked_again)
