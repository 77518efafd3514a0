"""Accepted runs survive: seeds of faults on real processes, judged by the checker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.checker import check
from tests.chaos.faults import OF_SERVERS, SCENARIOS, drawn_from, little_chaos
from tests.chaos.harness import Hit, Seed, describe, log_hits, plans


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[Arena]:
    async with Arena(tmp_path) as arena:
        yield arena


@pytest.fixture
async def arena_with_servers(tmp_path: Path) -> AsyncIterator[Arena]:
    async with Arena(tmp_path, servers=2) as arena:
        yield arena


async def play_until(
    arena: Arena, scenario: str, disturb: Callable[[Seed], Awaitable[None]], *, runs: int, first_seed: int, threads: int
) -> None:
    """Play seeds until so many runs were accepted; every history must be good and the kills must have hit where it matters."""
    log = arena.folder / "chaos.jsonl"
    kills: list[Hit] = []
    done, number = 0, first_seed
    while done < runs:
        seed = Seed(arena, number)
        history = await seed.play(plans(seed)[:threads], disturb)
        log_hits(log, scenario, seed)
        print(describe(seed), flush=True)
        broken = [f"{item.promise}: {item.about}" for item in check(history)]
        assert not broken, "\n".join([describe(seed), *broken])
        kills += [hit for hit in seed.hits if hit.fault.startswith("kill")]
        done, number = done + len(history.runs), number + 1
    at_the_end = [hit for hit in kills if hit.at_the_end]
    print(f"{scenario}: {done} runs, {len(kills)} kills, {len(at_the_end)} of them between the last checkpoint and the end. {log}")
    assert len(kills) < 5 or len(at_the_end) >= len(kills) / 5


async def test_accepted_runs_survive_a_few_seeds_of_chaos(arena: Arena) -> None:
    await play_until(arena, "a little", little_chaos, runs=12, first_seed=1, threads=9)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_accepted_runs_survive_many_seeds_of_chaos(arena: Arena, scenario: str, chaos_runs: int, chaos_seed: int) -> None:
    await play_until(arena, scenario, drawn_from(SCENARIOS[scenario]), runs=chaos_runs, first_seed=chaos_seed, threads=26)


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_clients_over_http_miss_nothing_while_servers_workers_and_valkey_fail(
    arena_with_servers: Arena, chaos_runs: int, chaos_seed: int
) -> None:
    kinds = (
        *OF_SERVERS,
        *OF_SERVERS,
        "kill",
        "kill before the end",
        "valkey restarted",
        "valkey killed",
        "valkey wiped",
        "connections reset",
    )
    disturb = drawn_from(kinds)
    await play_until(arena_with_servers, "over HTTP", disturb, runs=chaos_runs, first_seed=chaos_seed, threads=26)
