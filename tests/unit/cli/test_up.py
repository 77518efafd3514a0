"""The foreground of `up`: how its stack ended decides how it ends."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs import server, stack

from freehold.cli import up
from freehold.core.errors import Unhealthy
from freehold.core.progress import Silent
from freehold.targets.native import run
from freehold.targets.native.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        yield home
        run.delete(home)


async def test_a_killed_supervisor_is_an_error(home: Home) -> None:
    supervisor = run.start(stack(server("a", home.path)), home, attached=False)
    await run.until_healthy(home, supervisor, Silent())
    supervisor.kill()
    with pytest.raises(Unhealthy, match="the supervisor ended by itself"):
        await up._stay(home, supervisor, json=False)


async def test_an_end_that_was_asked_for_is_none(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = run.start(stack(server("a", home.path)), home, attached=False)
    await run.until_healthy(home, supervisor, Silent())
    staying = asyncio.create_task(up._stay(home, supervisor, json=False))
    await run.stop(home, Silent())
    await staying
    assert "the stack has ended" in capsys.readouterr().err
