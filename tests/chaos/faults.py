"""What is done to a seed: one function for each fault, and the scenarios they are drawn from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import psycopg

from tests.chaos.arena import LEASE_SECONDS, Process
from tests.chaos.harness import Seed

Fault = Callable[[Seed], Awaitable[None]]


def _longer_than_the_lease(seed: Seed) -> float:
    return LEASE_SECONDS * seed.random.uniform(1.2, 2.5)


async def _kill(seed: Seed) -> None:
    await seed.hit("kill", seed.random.choice(seed.arena.workers))


async def _kill_again(seed: Seed) -> None:
    """Whoever goes on with the runs dies too."""
    first, second = seed.random.sample(seed.arena.workers, 2)
    await seed.hit("kill", first)
    await asyncio.sleep(_longer_than_the_lease(seed))
    await seed.hit("kill", second)


async def _kill_before_the_end(seed: Seed) -> None:
    """The database may have got to know of the end, and stores it, or has not, and another worker has to come to it."""
    async with seed.held_before_its_end() as worker:
        await seed.hit("kill before the end", worker or seed.random.choice(seed.arena.workers))
        if seed.random.random() < 0.6:
            await seed.lose_the_end()


async def _pause(seed: Seed) -> None:
    worker = seed.random.choice(seed.arena.workers)
    await seed.hit("pause", worker)
    await asyncio.sleep(_longer_than_the_lease(seed))
    worker.wake()


async def _pause_before_the_end(seed: Seed) -> None:
    async with seed.held_before_its_end() as worker:
        worker = worker or seed.random.choice(seed.arena.workers)
        await seed.hit("pause before the end", worker)
    await asyncio.sleep(_longer_than_the_lease(seed))
    worker.wake()


async def _drain(seed: Seed) -> None:
    worker = seed.random.choice(seed.arena.workers)
    await seed.note("worker drained", worker)
    await worker.stop()


async def _end_backends(seed: Seed) -> None:
    await seed.arena.end_backends(0.5, seed.random.random)


async def _exhaust_connections(seed: Seed) -> None:
    """Every connection the server has for others is taken, and those who had one lose it."""
    async with AsyncExitStack() as taken:
        await seed.arena.end_backends(1.0, seed.random.random)
        try:
            while True:
                conn = await psycopg.AsyncConnection.connect(seed.arena.database.app_url, application_name="chaos taker")
                await taken.enter_async_context(conn)
        except psycopg.OperationalError:
            await asyncio.sleep(seed.random.uniform(1, 4))


async def _cut_off(seed: Seed, process: Process) -> None:
    """Nothing gets through, or only answers do not; afterwards what was under way comes late, or the connections are reset."""
    network = process.network
    lines = seed.random.choice([[network.postgres], [network.valkey], [network.postgres, network.valkey]])
    answers_only, reset = seed.random.random() < 0.4, seed.random.random() < 0.5
    async with AsyncExitStack() as cuts:
        for line in lines:
            cuts.enter_context(line.silent(answers_only=answers_only))
        await asyncio.sleep(_longer_than_the_lease(seed))
        if reset:
            for line in lines:
                line.reset()


async def _cut_worker_off(seed: Seed) -> None:
    worker = seed.random.choice(seed.arena.workers)
    await seed.note("worker cut off", worker)
    await _cut_off(seed, worker)


async def _lose_the_answer_to_an_end(seed: Seed) -> None:
    """The database has stored the end of a run; its worker does not get to know, and its connections are reset."""
    async with AsyncExitStack() as cut:
        async with seed.held_before_its_end() as worker:
            worker = worker or seed.random.choice(seed.arena.workers)
            line = worker.network.postgres
            cut.enter_context(line.silent(answers_only=True))
            await seed.note("answer to an end lost", worker)
        await asyncio.sleep(seed.random.uniform(0.2, LEASE_SECONDS * 1.5))
        line.reset()


async def _reset_connections(seed: Seed) -> None:
    for process in (*seed.arena.workers, *seed.arena.servers):
        process.network.postgres.reset()
        process.network.valkey.reset()


async def _kill_server(seed: Seed) -> None:
    await seed.random.choice(seed.arena.servers).kill()


async def _pause_server(seed: Seed) -> None:
    server = seed.random.choice(seed.arena.servers)
    server.pause()
    await asyncio.sleep(_longer_than_the_lease(seed))
    server.wake()


async def _cut_server_off(seed: Seed) -> None:
    await _cut_off(seed, seed.random.choice(seed.arena.servers))


FAULTS: dict[str, Fault] = {
    "kill": _kill,
    "kill again": _kill_again,
    "kill before the end": _kill_before_the_end,
    "pause": _pause,
    "pause before the end": _pause_before_the_end,
    "worker drained": _drain,
    "postgres restarted": lambda seed: seed.arena.restart_postgres(kill=False),
    "postgres killed": lambda seed: seed.arena.restart_postgres(kill=True),
    "backends ended": _end_backends,
    "connections exhausted": _exhaust_connections,
    "valkey restarted": lambda seed: seed.arena.restart_valkey(kill=False),
    "valkey killed": lambda seed: seed.arena.restart_valkey(kill=True),
    "valkey wiped": lambda seed: seed.arena.wipe_valkey(),
    "worker cut off": _cut_worker_off,
    "answer to an end lost": _lose_the_answer_to_an_end,
    "connections reset": _reset_connections,
}

OF_SERVERS: dict[str, Fault] = {"server killed": _kill_server, "server paused": _pause_server, "server cut off": _cut_server_off}

SCENARIOS: dict[str, tuple[str, ...]] = {
    "workers killed": ("kill", "kill before the end"),
    "killed again and again": ("kill again", "kill before the end"),
    "workers stopped": ("pause", "pause before the end", "worker drained"),
    "postgres restarted": ("postgres restarted", "postgres killed"),
    "connections lost": ("backends ended", "connections exhausted", "connections reset"),
    "valkey lost": ("valkey restarted", "valkey killed", "valkey wiped"),
    "network cut": ("worker cut off", "answer to an end lost", "connections reset"),
    "everything": tuple(FAULTS),
}


def drawn_from(kinds: tuple[str, ...], *, count: int = 5, threads: int = 4) -> Fault:
    """Faults of these kinds at moments of the seed, more threads before each; workers and servers that died are replaced after it."""

    async def disturb(seed: Seed) -> None:
        chosen = [seed.random.choice(kinds) for _ in range(count)]
        # Kills are what the suite counts, so where there are kills some are aimed.
        if "kill before the end" in kinds:
            chosen[-2:] = ["kill before the end"] * 2
            seed.random.shuffle(chosen)
        for kind in chosen:
            seed.begin(threads)
            await asyncio.sleep(seed.random.uniform(0.1, 1.2))
            seed.faults.append(kind)
            await (FAULTS | OF_SERVERS)[kind](seed)
            await seed.arena.replace_dead()

    return disturb


async def little_chaos(seed: Seed) -> None:
    """A kill where it hurts most, a cut and one fault of the seed, for those who wait for their tests."""
    for kind in ("kill before the end", "worker cut off", seed.random.choice(list(FAULTS))):
        seed.begin(3)
        await asyncio.sleep(seed.random.uniform(0.1, 1.0))
        seed.faults.append(kind)
        await FAULTS[kind](seed)
        await seed.arena.replace_dead()
