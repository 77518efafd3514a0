"""Accepted runs survive: seeds of faults on real processes, judged by the checker; and the checker sees what happens without fencing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.checker import check
from tests.chaos.harness import BEFORE_THE_END, Hit, Seed, chaos, describe, little_chaos, plans


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[Arena]:
    async with Arena(tmp_path) as arena:
        yield arena


async def play_until(arena: Arena, runs: int, first_seed: int, disturb: Callable[[Seed], Awaitable[None]], threads: int) -> None:
    """Play seeds until so many runs were accepted; every history must be good and the kills must have hit where it matters."""
    kills: list[Hit] = []
    done, number = 0, first_seed
    while done < runs:
        seed = Seed(arena, number)
        history = await seed.play(plans(seed)[:threads], disturb)
        print(describe(number, seed), flush=True)
        broken = [f"{item.promise}: {item.about}" for item in check(history)]
        assert not broken, "\n".join([describe(number, seed), *broken])
        kills += [hit for hit in seed.hits if hit.fault.startswith("kill")]
        done, number = done + len(history.runs), number + 1
    at_the_end = [hit for hit in kills if BEFORE_THE_END in hit.phases]
    print(f"{done} runs, {len(kills)} kills, {len(at_the_end)} of them between the last checkpoint and the end")
    assert len(at_the_end) >= len(kills) / 5


async def test_accepted_runs_survive_a_few_seeds_of_chaos(arena: Arena) -> None:
    await play_until(arena, runs=12, first_seed=1, disturb=little_chaos, threads=6)


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_accepted_runs_survive_many_seeds_of_chaos(arena: Arena, chaos_runs: int, chaos_seed: int) -> None:
    await play_until(arena, runs=chaos_runs, first_seed=chaos_seed, disturb=chaos, threads=12)
