"""Starts that are interrupted, that fail, or that two commands begin at once: nothing of ours stays, nothing of others ends."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.programs import code, server, stack

from freehold.core.errors import Unhealthy
from freehold.core.progress import Silent
from freehold.targets.native import run, up
from freehold.targets.native.home import Home
from freehold.targets.native.starting import StartLock


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    """A state folder with a short path; whatever runs in it afterwards is ended."""
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        yield home
        await run.stop(home, Silent())
        run.delete(home)


@pytest.fixture
def lock(home: Home) -> StartLock:
    lock = StartLock(home.start_lock)
    assert lock.take()
    return lock


async def test_a_start_that_is_interrupted_at_once_ends_the_supervisor(home: Home, lock: StartLock) -> None:
    supervisor = run.start(stack(server("a", home.path)), home, attached=False)
    waiting = asyncio.create_task(up._wait(home, supervisor, Silent(), lock))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert supervisor.returncode is not None
    assert not home.is_running()


async def test_a_start_that_fails_ends_everything_and_lets_the_next_one_in(home: Home, lock: StartLock) -> None:
    supervisor = run.start(stack(server("a", home.path), code("broken", "raise SystemExit(1)")), home, attached=False)
    with pytest.raises(Unhealthy, match="broken does not start"):
        await up._wait(home, supervisor, Silent(), lock)
    assert supervisor.returncode == 0
    assert not home.is_running()
    assert StartLock(home.start_lock).take()


async def test_the_end_of_a_start_leaves_the_stack_of_another_one_alone(home: Home) -> None:
    other = run.start(stack(server("a", home.path)), home, attached=False)
    before = await run.until_healthy(home, other, Silent())
    ours = subprocess.Popen(["sleep", "600"])
    await up.end(home, ours, Silent())
    assert ours.returncode is not None
    assert (await run.status(home)).pid == before.pid
    await run.stop(home, Silent())
    assert other.wait() == 0


class Said(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


async def test_a_second_start_says_that_it_waits_and_goes_on_after_the_first(home: Home, lock: StartLock) -> None:
    said, second = Said(), StartLock(home.start_lock)
    waiting = asyncio.create_task(second.wait(said))
    while not said.lines:
        await asyncio.sleep(0.01)
    assert said.lines == ["another command is starting the stack of this folder; waiting for it"]
    assert not waiting.done()
    lock.release()
    await waiting
    assert not lock.take()
    second.release()
