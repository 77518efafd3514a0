"""Upgrades with real wheels: to a version that is well, to such that are not, and killed in the middle of each step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.support import wheels
from tests.support.stack_folder import Folder, make_folder

from freehold.targets.native.connections import connections

#: Each of these tests starts several versions of a whole stack, one after another.
pytestmark = pytest.mark.timeout(1200)

NEW_TABLE = "CREATE TABLE freehold.came_with_the_upgrade (id int);"
#: Version -> what is different in it.
VERSIONS: dict[str, dict[str, str | None]] = {
    "0.1.0": {},
    "0.2.0": {"storage/migrations/9001_new.sql": NEW_TABLE},
    "0.3.0": {"storage/migrations/9001_new.sql": NEW_TABLE, "storage/migrations/9002_bad.sql": "SELECT 1 / 0;"},
    "0.4.0": {"storage/migrations/9001_new.sql": NEW_TABLE, "cli/serve.py": "raise SystemExit('this version does not serve')\n"},
    "0.5.0": {"cli/version.py": "raise SystemExit('this version does not start')\n"},
    "0.0.9": {},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return {version: wheels.build(folder, version, changes) for version, changes in VERSIONS.items()}


@pytest.fixture(scope="module")
def template(wheel: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.environment(tmp_path_factory.mktemp("environment") / "env", wheel["0.1.0"]).parents[1]


@pytest.fixture
def stack(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A running stack of 0.1.0 with a thread in it."""
    monkeypatch.setenv("PYTHONPATH", "")
    shutil.copytree(template, tmp_path / "env", symlinks=True)
    made = make_folder(tmp_path / "project")
    folder = Folder(made.path, made.port, tmp_path / "env" / "bin" / "python")
    folder.up()
    httpx.post(f"http://127.0.0.1:{folder.port}/threads", json={"thread_id": THREAD})
    yield folder
    folder.run("reset", "--yes", code=None)


THREAD = "0190b3a0-0000-7000-8000-000000000001"


def version(folder: Folder) -> str:
    return str(json.loads(folder.run("status", "--json").stdout)["version"])


def threads(folder: Folder) -> set[str]:
    return {thread["thread_id"] for thread in httpx.post(f"http://127.0.0.1:{folder.port}/threads/search", json={}).json()}


def tables(folder: Folder) -> set[str]:
    with psycopg.connect(connections(folder.home.path).migration_url) as connection:
        return {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'freehold'").fetchall()}


def beside(folder: Folder) -> set[str]:
    return {path.name for path in folder.python.parents[2].iterdir() if path.name.startswith("env")}


def require_old(folder: Folder) -> None:
    assert version(folder) == "0.1.0"
    assert threads(folder) == {THREAD}
    assert "came_with_the_upgrade" not in tables(folder)
    assert not folder.home.upgrade_file.exists()
    assert beside(folder) == {"env"}


def test_an_upgrade_keeps_the_data_and_a_way_back(stack: Folder, wheel: dict[str, Path]) -> None:
    done: dict[str, Any] = json.loads(stack.run("upgrade", "--to", str(wheel["0.2.0"]), "--json").stdout)
    assert (done["old"], done["new"], done["why"]) == ("0.1.0", "0.2.0", None)
    assert version(stack) == "0.2.0"
    assert threads(stack) == {THREAD}
    assert "came_with_the_upgrade" in tables(stack)
    assert Path(done["backup"]).is_file()
    assert beside(stack) == {"env", "env.previous"}
    assert subprocess.run([stack.python.with_name("freehold"), "version"], capture_output=True, text=True, check=True).stdout.startswith(
        "freehold 0.2.0"
    )
    assert "is what is installed" in stack.run("upgrade", code=2).stderr


@pytest.mark.parametrize(("bad", "why"), [("0.3.0", "division by zero"), ("0.4.0", "server does not start")])
def test_a_version_that_is_not_well_gives_way_to_the_old_one_with_all_data(
    stack: Folder, wheel: dict[str, Path], bad: str, why: str
) -> None:
    done = stack.run("upgrade", "--to", str(wheel[bad]), "--json", code=5)
    assert why in json.loads(done.stdout)["why"], done.stderr
    require_old(stack)


@pytest.mark.slow
def test_a_version_that_does_not_start_at_all_never_touches_the_stack(stack: Folder, wheel: dict[str, Path]) -> None:
    pids = stack.pids()
    assert "does not start" in stack.run("upgrade", "--to", str(wheel["0.5.0"]), code=6).stderr
    assert "is older" in stack.run("upgrade", "--to", str(wheel["0.0.9"]), code=6).stderr
    assert stack.pids() == pids
    require_old(stack)


@pytest.mark.slow
def test_a_version_that_somebody_installed_is_taken_up(stack: Folder, wheel: dict[str, Path]) -> None:
    wheels.install(stack.python, wheel["0.2.0"])
    stack.run("upgrade")
    assert (version(stack), threads(stack)) == ("0.2.0", {THREAD})
    assert beside(stack) == {"env"}


@pytest.mark.slow
@pytest.mark.parametrize("step", ["prepare", "stop", "save", "switch", "start", "check"])
def test_one_that_is_killed_on_its_way_is_finished_or_taken_back(stack: Folder, wheel: dict[str, Path], step: str) -> None:
    kill_in(stack, wheel["0.2.0"], step)
    if stack.home.upgrade_file.exists() and not stack.home.is_running():
        assert "`freehold upgrade` finishes it" in stack.run("up", "--detach", code=1).stderr
    done = stack.run("upgrade", "--json", code=None)
    assert done.returncode in (0, 5), done.stderr
    if done.returncode == 5:
        require_old(stack)
    else:
        assert (version(stack), threads(stack)) == ("0.2.0", {THREAD})
    assert not stack.home.upgrade_file.exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["end", "return", "restore", "restart"])
def test_one_that_is_killed_on_its_way_back_comes_back(stack: Folder, wheel: dict[str, Path], step: str) -> None:
    kill_in(stack, wheel["0.3.0"], step)
    stack.run("upgrade", code=5)
    require_old(stack)


def kill_in(folder: Folder, wheel: Path, step: str) -> None:
    """Kill the upgrade as soon as its journal says that it is at this step, or later where the step was quick."""
    running = subprocess.Popen(
        folder.command("upgrade", "--to", str(wheel)), cwd=folder.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    reached = False
    while running.poll() is None and not reached:
        if folder.home.upgrade_file.exists():
            reached = json.loads(folder.home.upgrade_file.read_text())["step"] == step
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert reached
