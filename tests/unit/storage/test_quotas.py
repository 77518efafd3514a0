"""Quotas where runs are accepted: in PostgreSQL, under row-level security, with several at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from freehold.config.settings import QuotasSection
from freehold.core.caller import Caller
from freehold.core.errors import NotFound, QuotaExceeded
from freehold.core.ids import assistant_id, new_id
from freehold.core.run import MultitaskStrategy, Run, RunRequest
from freehold.events.counters import UsageCounters
from freehold.events.log import create_client
from freehold.storage import quotas as quotas_module
from freehold.storage.pool import Pool, create_pool
from freehold.storage.quotas import Quotas, create_quotas
from freehold.storage.runs import Runs, Target
from freehold.storage.threads import Threads

ADA, BOB, EVE = Caller("acme", "ada"), Caller("acme", "bob"), Caller("other", "eve")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=12) as opened:
        yield opened


@pytest.fixture
async def counters(valkey_url: str) -> AsyncIterator[UsageCounters]:
    client = create_client(valkey_url)
    yield UsageCounters(client)
    await client.aclose()


def limited(pool: Pool, counters: UsageCounters, **limits: Any) -> Runs:
    return Runs(pool, create_quotas(pool, QuotasSection.model_validate(limits), counters))


async def start(
    runs: Runs, caller: Caller = ADA, thread_id: UUID | None = None, *, strategy: MultitaskStrategy = "enqueue", after_seconds: float = 0
) -> Run:
    target = Target(assistant_id("echo"), "echo", thread_id)
    return (await runs.accept(caller, target, RunRequest(), strategy=strategy, after_seconds=after_seconds)).run


async def stored_runs(pool: Pool) -> int:
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT count(*) AS runs FROM freehold.runs")).fetchone()
    return int(row["runs"]) if row else -1


def test_without_a_limit_there_is_nothing_to_ask() -> None:
    assert create_quotas(None, QuotasSection(), None) is None  # type: ignore[arg-type]


async def test_so_many_runs_at_the_same_time_and_no_more(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=2)
    first, _ = await start(runs), await start(runs, after_seconds=60)
    with pytest.raises(QuotaExceeded, match="2 runs are waiting or being executed by you") as refused:
        await start(runs)
    assert refused.value.retry_after_seconds > 0 and "quotas.concurrent_runs" in str(refused.value.hint)
    assert await stored_runs(pool) == 2
    await start(runs, BOB)
    await runs.cancel(ADA, first.thread_id, first.run_id, "interrupt")
    await start(runs)


async def test_two_at_once_never_both_pass(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=5)
    threads = [(await Threads(pool).create(ADA)).thread_id for _ in range(10)]
    ways = [start(runs) for _ in range(15)] + [start(runs, ADA, thread) for thread in threads]
    ways += [start(runs, ADA, thread, strategy="interrupt") for thread in threads]
    outcomes = await asyncio.gather(*ways, return_exceptions=True)
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) + sum(isinstance(outcome, Run) for outcome in outcomes) == 35
    async with pool.connection() as conn:
        row = await (
            await conn.execute("SELECT count(*) AS runs FROM freehold.runs WHERE status IN ('pending', 'running') AND cancel IS NULL")
        ).fetchone()
    assert row and row["runs"] == 5


async def test_the_owners_of_an_organisation_share_its_limit_though_they_do_not_see_each_other(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=2, organisation={"concurrent_runs": 3})
    for caller in (ADA, ADA, BOB):
        await start(runs, caller)
    with pytest.raises(QuotaExceeded, match="3 runs are waiting or being executed by your organisation"):
        await start(runs, BOB)
    await start(runs, EVE)


async def test_a_run_that_takes_the_place_of_another_fits(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=1)
    thread = (await Threads(pool).create(ADA)).thread_id
    first = await start(runs, ADA, thread)
    await runs.claim("w1", 30)
    for strategy in ("interrupt", "rollback"):
        await start(runs, ADA, thread, strategy=strategy)  # type: ignore[arg-type]
    with pytest.raises(QuotaExceeded):
        await start(runs, ADA, thread)
    assert (await runs.get(ADA, thread, first.run_id)).cancel


async def test_a_refused_run_leaves_nothing_behind(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=1)
    thread = await Threads(pool).create(ADA)
    await start(runs)
    for strategy in ("enqueue", "interrupt"):
        with pytest.raises(QuotaExceeded):
            await start(runs, ADA, thread.thread_id, strategy=strategy)  # type: ignore[arg-type]
        made = new_id()
        with pytest.raises(QuotaExceeded):
            await runs.accept(ADA, Target(assistant_id("echo"), "echo", made, create_thread=True), RunRequest(), strategy=strategy)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            await Threads(pool).get(ADA, made)
    assert (await Threads(pool).get(ADA, thread.thread_id)).status == "idle"


async def test_a_strangers_thread_is_not_found_also_with_quotas(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, concurrent_runs=5, organisation={"concurrent_runs": 5})
    thread = (await Threads(pool).create(BOB)).thread_id
    for strategy in ("enqueue", "interrupt", "reject"):
        with pytest.raises(NotFound):
            await start(runs, ADA, thread, strategy=strategy)  # type: ignore[arg-type]


async def test_runs_a_minute_hold_where_runs_are_accepted(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, runs_per_minute=3)
    for _ in range(3):
        await start(runs)
    with pytest.raises(QuotaExceeded, match="3 runs a minute were started by you") as refused:
        await start(runs)
    assert 55 <= refused.value.retry_after_seconds <= 60
    assert await stored_runs(pool) == 3


async def test_tokens_of_a_day_hold_where_runs_are_accepted(pool: Pool, counters: UsageCounters) -> None:
    runs = limited(pool, counters, organisation={"tokens_per_day": 100})
    await counters.spend("acme", "bob", 100)
    with pytest.raises(QuotaExceeded, match="100 tokens were used today by your organisation"):
        await start(runs)
    await start(runs, EVE)


async def test_who_stores_too_much_starts_no_run_until_there_is_room(
    pool: Pool, counters: UsageCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas_module, "BELIEVED_SECONDS", 0.0)
    monkeypatch.setattr(quotas_module, "MEASURED_SECONDS", 0.0)
    quotas = Quotas(pool, QuotasSection(stored_mb=1), counters)
    runs, threads = Runs(pool, quotas), Threads(pool)
    assert not await quotas.measure()  # nobody asked
    thread = (await threads.create(ADA)).thread_id
    await start(runs)
    async with pool.connection() as conn:  # what does not compress: 1.2 MB of checkpoint
        await conn.execute(
            "INSERT INTO freehold.thread_blobs (thread_id, digest, type, value) SELECT %s, 'x', 'bytes',"
            " string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 40000) n",
            (str(thread),),
        )
    while await quotas.measure():
        pass
    with pytest.raises(QuotaExceeded, match="1 MB are stored by you") as refused:
        await start(runs)
    assert "remove something" in str(refused.value.hint)
    await start(runs, BOB)
    async with pool.connection() as conn:
        await conn.execute("DELETE FROM freehold.thread_blobs")
    while await quotas.measure():
        pass
    await start(runs)


async def test_the_stored_bytes_of_an_organisation_are_those_of_its_owners(
    pool: Pool, counters: UsageCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas_module, "BELIEVED_SECONDS", 0.0)
    runs = limited(pool, counters, organisation={"stored_mb": 2})
    await start(runs)
    async with pool.connection() as conn:
        await conn.execute(
            "INSERT INTO freehold.usage (organisation, owner, stored_bytes) VALUES ('acme', 'bob', 1500000), ('other', 'x', 9000000)"
        )
        await start(runs)
        await conn.execute("UPDATE freehold.usage SET stored_bytes = 500000 WHERE owner = 'ada'")
    with pytest.raises(QuotaExceeded, match="2 MB are stored by your organisation"):
        await start(runs)


async def test_what_an_owner_holds_counts_threads_documents_and_store(pool: Pool) -> None:
    async with pool.connection() as conn:

        async def held() -> int:
            row = await (await conn.execute("SELECT freehold.stored_by('acme', 'ada') AS bytes")).fetchone()
            return int(row["bytes"]) if row else -1

        sizes = [await held()]
        await conn.execute("INSERT INTO freehold.threads (thread_id, organisation, owner) VALUES (gen_random_uuid(), 'acme', 'ada')")
        sizes.append(await held())
        await conn.execute(
            "INSERT INTO freehold.documents (document_id, organisation, owner, path, source, content_hash, media_type, bytes)"
            " VALUES (gen_random_uuid(), 'acme', 'ada', '/x', 'x', 'h', 'text/plain', 1)"
        )
        sizes.append(await held())
        await conn.execute(
            "INSERT INTO freehold.store_items (organisation, owner, prefix, key, value) VALUES ('acme', 'ada', 'a', 'b', '{}')"
        )
        sizes.append(await held())
        await conn.execute(
            "INSERT INTO freehold.store_items (organisation, owner, prefix, key, value) VALUES ('acme', 'bob', 'a', 'b', '{}')"
        )
        assert sizes[0] == 0 and sizes == sorted(set(sizes)) and await held() == sizes[-1]
