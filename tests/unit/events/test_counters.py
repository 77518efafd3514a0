"""Runs a minute and tokens a day, counted in a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as redis

from freehold.config.settings import QuotasSection
from freehold.events.counters import UsageCounters
from freehold.events.log import create_client
from freehold.telemetry.metrics import QUOTA_UNCHECKED

DAY = 86400


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[redis.Redis]:
    opened = create_client(valkey_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def counters(client: redis.Redis) -> UsageCounters:
    return UsageCounters(client)


def limits(**values: Any) -> QuotasSection:
    return QuotasSection.model_validate(values)


async def test_so_many_runs_a_minute_and_no_more(counters: UsageCounters) -> None:
    allowed = limits(runs_per_minute=3)
    answers = [await counters.admit("acme", "ada", allowed) for _ in range(5)]
    assert answers[:3] == [None] * 3
    for refused in answers[3:]:
        assert refused and refused[0] == "runs_per_minute" and 58 <= refused[1] <= 60


async def test_many_at_once_do_not_pass_together(counters: UsageCounters) -> None:
    answers = await asyncio.gather(*(counters.admit("acme", "ada", limits(runs_per_minute=7)) for _ in range(50)))
    assert answers.count(None) == 7


async def test_several_servers_count_as_one(client: redis.Redis) -> None:
    servers = [UsageCounters(client) for _ in range(3)]
    answers = [await server.admit("acme", "ada", limits(runs_per_minute=4)) for server in servers for _ in range(2)]
    assert answers.count(None) == 4


async def test_what_is_a_minute_old_counts_no_more_and_one_is_told_when_there_is_room(counters: UsageCounters, client: redis.Redis) -> None:
    allowed = limits(runs_per_minute=2)
    await counters.admit("acme", "ada", allowed)
    (key,) = await client.keys("freehold:quota:runs:*")
    now = int((await client.time())[0])
    await client.delete(key)
    await client.hset(key, mapping={str(now - 61): 1, str(now - 40): 1, str(now - 10): 1})
    refused = await counters.admit("acme", "ada", allowed)
    assert refused and 18 <= refused[1] <= 20
    await client.hdel(key, str(now - 40))
    assert await counters.admit("acme", "ada", allowed) is None


async def test_owners_do_not_count_for_each_other(counters: UsageCounters) -> None:
    allowed = limits(runs_per_minute=1)
    people = [("acme", "ada"), ("acme", "bob"), ("other", "ada"), ("acme/ada", ""), ("", "acme/ada")]
    assert [await counters.admit(*person, allowed) for person in people] == [None] * len(people)


async def test_the_owners_of_an_organisation_share_its_limit(counters: UsageCounters) -> None:
    allowed = limits(runs_per_minute=2, organisation={"runs_per_minute": 3})
    assert [await counters.admit("acme", owner, allowed) for owner in ("ada", "ada", "bob")] == [None] * 3
    refused = await counters.admit("acme", "bob", allowed)
    assert refused and refused[0] == "organisation.runs_per_minute"
    assert await counters.admit("other", "bob", allowed) is None


async def test_who_is_refused_uses_up_nothing(counters: UsageCounters) -> None:
    tight, loose = limits(runs_per_minute=1, organisation={"runs_per_minute": 2}), limits(organisation={"runs_per_minute": 2})
    assert await counters.admit("acme", "ada", tight) is None
    for _ in range(3):
        assert await counters.admit("acme", "ada", tight)
    assert await counters.admit("acme", "bob", loose) is None


async def test_tokens_of_a_day_are_used_up(counters: UsageCounters) -> None:
    allowed = limits(tokens_per_day=1000, organisation={"tokens_per_day": 1500})
    assert await counters.admit("acme", "ada", allowed) is None
    await counters.spend("acme", "ada", 600)
    assert await counters.admit("acme", "ada", allowed) is None
    await counters.spend("acme", "ada", 600)
    refused = await counters.admit("acme", "ada", allowed)
    assert refused and refused[0] == "tokens_per_day" and 0 < refused[1] <= DAY
    assert await counters.admit("acme", "bob", allowed) is None
    await counters.spend("acme", "bob", 300)
    refused = await counters.admit("acme", "bob", allowed)
    assert refused and refused[0] == "organisation.tokens_per_day"


async def test_nothing_is_kept_for_longer_than_it_counts(counters: UsageCounters, client: redis.Redis) -> None:
    await counters.admit("acme", "ada", limits(runs_per_minute=5, organisation={"runs_per_minute": 5}))
    await counters.spend("acme", "ada", 5)
    lives = {key.decode(): await client.ttl(key) for key in await client.keys("freehold:quota:*")}
    assert len(lives) == 4
    assert all(0 < seconds <= (61 if ":runs:" in key else DAY) for key, seconds in lives.items())


async def test_while_valkey_is_away_nobody_is_refused_and_it_is_counted() -> None:
    client = create_client("redis://127.0.0.1:1")
    counters = UsageCounters(client)
    before = QUOTA_UNCHECKED._value.get()
    assert [await counters.admit("acme", "ada", limits(runs_per_minute=1)) for _ in range(3)] == [None] * 3
    await counters.spend("acme", "ada", 5)
    assert QUOTA_UNCHECKED._value.get() == before + 3
    await client.aclose()
