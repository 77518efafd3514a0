"""Webhook deliveries as rows: made with the end of a run or not at all, and tried by one worker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from freehold.core.caller import Caller
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.storage.pool import Pool, as_caller, create_pool
from freehold.storage.runs import Runs, Target
from freehold.storage.webhooks import Webhooks

ANNA = Caller("acme", "anna")
BERT = Caller("acme", "bert")
URL = "https://example.com/hook"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=8) as pool:
        yield pool


async def claimed(pool: Pool, webhook: str | None = URL) -> Run:
    """A run of Anna's that a worker holds."""
    runs = Runs(pool)
    await runs.accept(ANNA, Target(assistant_id("echo"), "echo"), RunRequest(input={"text": "a"}, metadata={"m": 1}, webhook=webhook))
    run = await runs.claim("worker", 10)
    assert run is not None
    return run


async def end(pool: Pool, run: Run, **more: Any) -> bool:
    return await Runs(pool).finish(run, "success", thread_status="idle", values=b'{"text":"b"}', interrupts={}, **more)


async def test_the_end_of_a_run_makes_a_delivery_that_holds_what_is_to_be_told(pool: Pool) -> None:
    run = await claimed(pool)
    assert await end(pool, run)
    (delivery,) = await Webhooks(pool).of_run(ANNA, run.thread_id, run.run_id)
    assert (delivery.url, delivery.status, delivery.attempts) == (URL, "pending", 0)
    body = delivery.body
    assert body and (body["run_id"], body["status"], body["values"]) == (str(run.run_id), "success", {"text": "b"})
    assert body["metadata"] == {"m": 1} and body["kwargs"]["input"] == {"text": "a"} and "error" not in body
    assert not {"metadata", "origin", "user"} & body["kwargs"].keys()


async def test_a_run_without_a_webhook_makes_none_and_neither_does_an_end_that_was_not_stored(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    silent = await claimed(pool, webhook=None)
    assert await end(pool, silent)
    lost = await claimed(pool)
    assert not await end(pool, lost, if_expired=True)
    assert await webhooks.claim(10, seconds=60) == []


async def test_a_delivery_is_made_once_although_the_end_is_stored_twice(pool: Pool) -> None:
    run = await claimed(pool)
    assert await end(pool, run)
    assert not await end(pool, run)
    assert len(await Webhooks(pool).of_run(ANNA, run.thread_id, run.run_id)) == 1


async def test_of_many_that_claim_at_once_one_gets_a_delivery_until_its_claim_runs_out(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    for _ in range(10):
        await end(pool, await claimed(pool))
    batches = await asyncio.gather(*(webhooks.claim(4, seconds=0.5) for _ in range(5)))
    claims = [delivery.delivery_id for batch in batches for delivery in batch]
    assert len(claims) == len(set(claims)) == 10
    assert await webhooks.claim(10, seconds=60) == []
    async with asyncio.timeout(20):
        while not (again := await webhooks.claim(10, seconds=60)):
            await asyncio.sleep(0.05)
    assert {delivery.attempts for delivery in again} == {2}


async def test_what_came_of_an_older_try_changes_nothing(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    run = await claimed(pool)
    await end(pool, run)
    (old,) = await webhooks.claim(1, seconds=0)
    (new,) = await webhooks.claim(1, seconds=60)
    await webhooks.failed(old, "too late", status=None, again_in=None)
    assert (await webhooks.of_run(ANNA, run.thread_id, run.run_id))[0].status == "pending"
    await webhooks.delivered(new, 204)
    (stored,) = await webhooks.of_run(ANNA, run.thread_id, run.run_id)
    assert (stored.status, stored.last_status, stored.next_try_at, stored.body) == ("delivered", 204, None, None)
    assert stored.delivered_at is not None


async def test_a_failed_try_waits_for_its_pause_and_the_last_one_forgets_what_was_to_be_sent(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    run = await claimed(pool)
    await end(pool, run)
    (delivery,) = await webhooks.claim(1, seconds=60)
    await webhooks.failed(delivery, "answered 500", status=500, again_in=3600)
    (stored,) = await webhooks.of_run(ANNA, run.thread_id, run.run_id)
    assert (stored.status, stored.last_error, stored.last_status) == ("pending", "answered 500", 500) and stored.body
    assert await webhooks.claim(1, seconds=60) == []
    await webhooks.failed(delivery, "answered 500", status=500, again_in=None)
    (stored,) = await webhooks.of_run(ANNA, run.thread_id, run.run_id)
    assert (stored.status, stored.body) == ("failed", None)


async def test_first_tries_come_before_repeated_ones(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    await end(pool, await claimed(pool))
    (old,) = await webhooks.claim(1, seconds=0)
    new = await claimed(pool)
    await end(pool, new)
    (first,) = await webhooks.claim(1, seconds=60)
    assert first.run_id == new.run_id != old.run_id


@pytest.mark.parametrize("how", ["one", "many"])
async def test_a_run_that_is_cancelled_before_it_begins_is_reported_and_one_rolled_back_is_not(pool: Pool, how: str) -> None:
    runs = Runs(pool)
    for action in ("interrupt", "rollback"):
        accepted = await runs.accept(ANNA, Target(assistant_id("echo"), "echo"), RunRequest(webhook=URL))
        run = accepted.run
        if how == "one":
            await runs.cancel(ANNA, run.thread_id, run.run_id, action)  # type: ignore[arg-type]
        else:
            await runs.cancel_many(ANNA, ["pending"], action, of=(run.thread_id, [run.run_id]))  # type: ignore[arg-type]
        found = await Webhooks(pool).of_run(ANNA, run.thread_id, run.run_id)
        assert [delivery.body and delivery.body["status"] for delivery in found] == (["interrupted"] if action == "interrupt" else [])


async def test_deliveries_of_others_are_not_seen(pool: Pool) -> None:
    run = await claimed(pool)
    await end(pool, run)
    assert await Webhooks(pool).of_run(BERT, run.thread_id, run.run_id) == []
    assert await Webhooks(pool).of_run(ANNA, uuid4(), run.run_id) == []


async def test_the_secret_is_made_once_and_no_request_can_read_what_it_is_made_of(pool: Pool) -> None:
    secrets = await asyncio.gather(*(Webhooks(pool).secret_of("acme", "anna") for _ in range(5)))
    assert len(set(secrets)) == 1
    assert await Webhooks(pool).secret_of("acme", "bert") not in secrets
    assert await Webhooks(pool, "a master of the operator's").secret_of("acme", "anna") not in secrets
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_caller(pool, ANNA) as conn:
            await conn.execute("SELECT secret FROM freehold.webhook_master")


async def test_deliveries_that_were_over_long_ago_are_removed(pool: Pool) -> None:
    webhooks = Webhooks(pool)
    for _ in range(2):
        await end(pool, await claimed(pool))
    for delivery in await webhooks.claim(2, seconds=60):
        await webhooks.delivered(delivery, 200)
    async with pool.connection() as conn:
        await conn.execute(
            "UPDATE freehold.webhook_deliveries SET updated_at = now() - interval '31 days' WHERE delivery_id = %s", [delivery.delivery_id]
        )
        await webhooks.forget()
        rows = await (await conn.execute("SELECT delivery_id FROM freehold.webhook_deliveries")).fetchall()
    assert len(rows) == 1 and rows[0]["delivery_id"] != delivery.delivery_id
