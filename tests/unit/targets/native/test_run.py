"""Starting, ending and deleting from outside: what is not ours stays as it is."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.config import paths
from freehold.control import client, server
from freehold.control.protocol import Request, StackStatus, socket_path
from freehold.core.errors import ConfigError
from freehold.core.progress import Silent
from freehold.targets.native import run
from freehold.targets.native.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folder of sockets of every stack would be; it is not made."""
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        runtime = Path(folder) / "run"
        monkeypatch.setattr(paths, "runtime", lambda _: runtime)
        yield runtime


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("command", ["stop", "delete"])
async def test_a_link_in_place_of_the_folder_of_sockets_is_not_followed(home: Home, runtime: Path, tmp_path: Path, command: str) -> None:
    other = runtime.with_name("other")
    other.mkdir(mode=0o700)
    listen(other / "docker.sock")
    runtime.symlink_to(other)
    if command == "stop":
        await run.stop(home, Silent())
    else:
        run.delete(home)
    assert (other / "docker.sock").exists()


async def test_a_folder_that_others_may_enter_is_not_cleared(home: Home, runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    listen(runtime / "control.sock")
    await run.stop(home, Silent())
    assert (runtime / "control.sock").exists()


async def test_sockets_that_were_left_behind_go_and_what_is_not_ours_stays(home: Home, runtime: Path) -> None:
    paths.make_private(runtime)
    listen(runtime / ".s.PGSQL.5432")
    (runtime / ".s.PGSQL.5432.lock").touch()
    await run.stop(home, Silent())
    assert not runtime.exists()
    paths.make_private(runtime)
    listen(runtime / "valkey.sock")
    (runtime / "mine").mkdir()
    (runtime / "notes").touch()
    await run.stop(home, Silent())
    assert {path.name for path in runtime.iterdir()} == {"mine", "notes"}


async def test_a_folder_that_is_not_a_stacks_is_not_deleted_from(tmp_path: Path) -> None:
    for name in ("secrets", "logs", "postgres", "native"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "mine").touch()
    (tmp_path / "site" / "native" / "processes.json").write_text("[]")
    assert await run.stop(Home(tmp_path / "site"), Silent()) == []
    with pytest.raises(ConfigError, match="is not the state folder of a stack"):
        run.delete(Home(tmp_path / "site"))
    assert {path.name for path in (tmp_path / "site").glob("*/*")} == {"mine", "processes.json"}


def test_deleting_keeps_what_is_not_ours_and_the_folder_can_be_used_again(home: Home, runtime: Path) -> None:
    (home.path / "notes.txt").touch()
    run.delete(home)
    assert {path.name for path in home.path.iterdir()} == {"notes.txt", ".freehold-state"}
    home.create()
    (home.path / "notes.txt").unlink()
    run.delete(home)
    assert not home.path.exists()


def test_only_the_files_of_metrics_are_emptied(home: Home) -> None:
    home.metrics.mkdir()
    for name in ("counter_1.db", "report.csv"):
        (home.metrics / name).touch()
    run._empty_metrics(home.metrics)
    assert [path.name for path in home.metrics.iterdir()] == ["report.csv"]


async def test_an_answer_that_is_late_is_asked_for_again(home: Home, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(client.ask.__kwdefaults__, "timeout_seconds", 0.1)
    paths.make_private(runtime)
    asked = 0

    async def answer(_: Request) -> StackStatus:
        nonlocal asked
        asked += 1
        if asked in (1, 3):
            await asyncio.sleep(1)
        return StackStatus("a", "1", "f", 1, 0.0, "http://127.0.0.1:1", stopping=False, services=())

    async with server.listening(socket_path(runtime), answer):
        assert (await run.until_healthy(home, None, Silent())).is_healthy
    assert asked == 4
