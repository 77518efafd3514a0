"""One query for all who wonder, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from tests.support.servers import PostgresServer

from freehold.core.caller import LOCAL
from freehold.core.errors import StorageUnavailable
from freehold.core.ids import assistant_id
from freehold.core.run import RunRequest
from freehold.server.standing import Standing
from freehold.storage.pool import create_pool
from freehold.storage.runs import Runs, Target


@pytest.fixture
async def runs(database_url: str) -> AsyncIterator[Runs]:
    async with create_pool(database_url, max_size=2) as pool:
        yield Runs(pool)


async def accept(runs: Runs) -> UUID:
    return (await runs.accept(LOCAL, Target(assistant_id("agent"), "agent"), RunRequest())).run.run_id


async def test_everybody_learns_about_the_run_they_asked_for(runs: Runs) -> None:
    standing = Standing(runs)
    asked = [await accept(runs) for _ in range(5)]
    found = await asyncio.gather(*(standing.of(run_id) for run_id in [*asked, UUID(int=1), asked[0]]))
    assert [progress and progress.status for progress in found] == ["pending"] * 5 + [None, "pending"]


async def test_who_asks_later_is_told_how_it_is_then(runs: Runs) -> None:
    standing = Standing(runs)
    run_id = await accept(runs)
    assert (await standing.of(run_id) or pytest.fail()).epoch == 0
    await runs.claim("worker", 30)
    assert (await standing.of(run_id) or pytest.fail()).epoch == 1


async def test_one_that_leaves_does_not_take_the_answer_from_the_others(runs: Runs) -> None:
    standing = Standing(runs)
    run_id = await accept(runs)
    leaving, staying = asyncio.create_task(standing.of(run_id)), asyncio.create_task(standing.of(run_id))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying or pytest.fail()).status == "pending"


async def test_a_database_that_is_away_is_told_to_all_and_asked_again_next_time() -> None:
    server = PostgresServer()
    try:
        server.create()
        async with create_pool(server.url("postgres"), max_size=2) as pool:
            standing = Standing(Runs(pool))
            server.stop()
            told = await asyncio.gather(*(standing.of(UUID(int=number)) for number in range(3)), return_exceptions=True)
            assert [type(error) for error in told] == [StorageUnavailable] * 3
    finally:
        server.remove()
