"""Hot reload: which changes matter, and that every service that holds the project's code is started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from freehold.cli import dev
from freehold.config import paths
from freehold.control.protocol import Accepted, AskRestart, Refused, Reply, Request, socket_path
from freehold.control.server import listening
from freehold.targets.native.home import Home


@pytest.mark.parametrize("name", ["agent.py", "langgraph.json", ".env", "prompts/system.md", "src/deep/er/query.sql"])
def test_sources_and_settings_of_the_project_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert dev._matters(path.with_name("x.env") if name == ".env" else path, tmp_path, [])


@pytest.mark.parametrize("name", ["notes.log", "a/__pycache__/agent.py", ".venv/lib/module.py", ".freehold/native/stack.json", "agent.py~"])
def test_what_tools_write_does_not_matter(tmp_path: Path, name: str) -> None:
    assert not dev._matters(tmp_path / name, tmp_path, [])


def test_our_own_folders_do_not_matter_whatever_their_names(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    for changed in (state / "native" / "processes.json", tmp_path / "link" / "native" / "processes.json"):
        assert not dev._matters(changed, tmp_path, [state])
    assert dev._matters(tmp_path / "states" / "agent.py", tmp_path, [state])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "state")
    home.create()
    runtime = paths.make_private(paths.runtime(home.path))
    yield home
    runtime.rmdir()


@pytest.mark.parametrize("worker", ["drains until the server was asked too", "is refused"])
async def test_a_change_restarts_the_server_however_the_worker_does(home: Home, worker: str) -> None:
    project = home.path.parent
    asked: list[str] = []
    server_was_asked = asyncio.Event()

    async def answer(request: Request) -> Reply:
        assert isinstance(request, AskRestart)
        asked.append(request.service)
        if request.service == "server":
            server_was_asked.set()
        elif worker == "is refused":
            return Refused("not now")
        await server_was_asked.wait()
        return Accepted()

    async with listening(socket_path(paths.runtime(home.path)), answer):
        reloading = asyncio.create_task(dev._reload_on_change(home, project))
        number = 0
        while not server_was_asked.is_set():  # the first changes may come before the watcher does
            (project / "agent.py").write_text(f"number = {number}\n")
            (home.path / "processes.json").write_text(str(number))
            number += 1
            assert not reloading.done()
            await asyncio.sleep(0.1)
        reloading.cancel()
        with suppress(asyncio.CancelledError):
            await reloading
    assert set(asked) == {"worker", "server"}
