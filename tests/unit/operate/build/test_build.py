"""`freehold build`: what it refuses, and that what it builds installs without a network and serves."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.netns import offline

from freehold.core.errors import ConfigError, FreeholdError, NotSupported
from freehold.core.progress import Silent
from freehold.graphs.project import read_project
from freehold.operate.build import build_image

ROOT = Path(__file__).parents[4]
FREEHOLD = str(Path(sys.executable).parent / "freehold")


def project(folder: Path, **keys: Any) -> Path:
    (folder / "agent").mkdir(parents=True)
    (folder / "agent" / "langgraph.json").write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, **keys}))
    (folder / "outside").mkdir()
    return folder / "agent"


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        ({"dependencies": ["../outside"]}, ConfigError, "../outside lies outside"),
        ({"graphs": {"agent": "../outside/agent.py:graph"}}, ConfigError, "../outside/agent.py:graph lies outside"),
        ({"dependencies": ["git+https://example.com/a.git"]}, NotSupported, "cannot be locked with a hash"),
        ({"base_image": "langchain/langgraph-api:3.12"}, NotSupported, "another server's image"),
        ({"api_version": "0.5"}, NotSupported, '"api_version"'),
        ({"source": {"kind": "uv"}}, ConfigError, 'no uv.lock in "."'),
    ],
)
async def test_what_cannot_be_built_is_named_before_anything_is_written(
    tmp_path: Path, keys: dict[str, Any], kind: type[FreeholdError], message: str
) -> None:
    folder = project(tmp_path, **keys)
    with pytest.raises(kind) as error:
        await build_image(read_project(folder), folder / "build", Silent())
    assert message in error.value.message


async def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (tmp_path / "outside" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something that is no build"):
        await build_image(read_project(folder), tmp_path / "outside", Silent())
    assert (tmp_path / "outside" / "mine.txt").exists()


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of an example, to build in."""
    folder = tmp_path_factory.mktemp("build") / "translator"
    shutil.copytree(ROOT / "examples" / "graphs" / "translator", folder, ignore=shutil.ignore_patterns("build"))
    return folder


def build(folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run([FREEHOLD, "build", "--json", *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built: dict[str, Any] = json.loads(done.stdout)
    return built


@pytest.mark.slow
def test_an_image_definition_locks_everything_with_hashes_for_every_platform(translator: Path) -> None:
    built = build(translator)
    folder = Path(built["folder"])
    assert (built["python"], built["variables"], built["wheels_only"]) == ("3.12", ["TRANSLATOR_LANGUAGE"], True)
    lock = (folder / "requirements.lock").read_text()
    names = [line.split("==")[0] for line in lock.splitlines() if "==" in line]
    assert {"langgraph", "fastapi", "uvloop"} <= set(names)
    assert lock.count("--hash=sha256:") > len(names)
    assert "freehold" not in names
    assert "://" not in lock
    local = (folder / "requirements-wheels.lock").read_text().splitlines()
    assert sorted(line.split("/")[2].split("-")[0] for line in local) == ["freehold", "translator_agents"]
    assert "translator_agents/langgraph.json" in (folder / "Dockerfile").read_text()
    assert "French" not in "".join(path.read_text() for path in folder.iterdir() if path.is_file())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="takes a network namespace")
def test_a_bundle_installs_without_a_network_and_serves(translator: Path, tmp_path: Path, database_url: str, valkey_url: str) -> None:
    built = build(translator, "--bundle", "--tar")
    subprocess.run(["tar", "-xf", built["archive"]], cwd=tmp_path, check=True)
    environ = {**os.environ, "PYTHON": sys.executable}
    environ.pop("PYTHONPATH", None)
    with offline() as network:
        installed = network.run("./bundle/install.sh", "venv", cwd=tmp_path, env=environ, check=False)
        assert installed.returncode == 0, installed.stderr
        assert network.attempts() == []
    (agents,) = tmp_path.glob("venv/lib/python*/site-packages/translator_agents/langgraph.json")
    environ |= {"FREEHOLD_AGENTS": str(agents), "TRANSLATOR_LANGUAGE": "French"}
    checked = subprocess.run(
        [str(tmp_path / "venv/bin/freehold"), "check", "--json"], env=environ, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["graphs"] == ["translator"]
    assert serves(tmp_path / "venv/bin/freehold", environ | {"DATABASE_URL": database_url, "REDIS_URL": valkey_url}) == ["translator"]


def serves(freehold: Path, environ: dict[str, str]) -> list[str]:
    """The graphs that its server says it has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([str(freehold), "serve", "--port", str(port)], env=environ, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None:
                try:
                    return list(httpx.get(f"http://127.0.0.1:{port}/info").json()["graphs"])
                except httpx.ConnectError:
                    time.sleep(0.2)
            raise AssertionError(f"the server ended with {server.returncode}")
        finally:
            server.terminate()
