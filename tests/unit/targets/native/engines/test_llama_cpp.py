import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.models.file_server import FileServer, Watched, serving
from tests.unit.targets.native.engines import tiny_project

from freehold.core.errors import ConfigError, FreeholdError
from freehold.targets.native.engines import llama_cpp, release


@pytest.fixture(autouse=True)
def no_llama_server_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has is not found."""
    monkeypatch.delenv("FREEHOLD_LLAMA_SERVER", raising=False)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving() as server:
        yield server


@pytest.fixture
def origins(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> llama_cpp.Origins:
    """A release server without releases, and a source archive that builds in seconds."""
    (tmp_path / "links").mkdir()
    (tmp_path / "gate.sh").write_text("exit 0\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    archive = tiny_project.write(tmp_path / "links", gate=tmp_path / "gate.sh")
    return llama_cpp.Origins(f"{server.url}/tags", archive, "inner")


def publish(server: FileServer, script: Path) -> None:
    """Let the release server have a binary for this platform."""
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = release.asset_name(llama_cpp.VERSION, platform.system(), architecture)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        packed.add(script, "llama/llama-server")
    asset = {"name": name, "size": len(buffer.getvalue()), "digest": f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"}
    about = {"assets": [{**asset, "browser_download_url": f"{server.url}/{name}"}]}
    server.files = {f"/tags/{llama_cpp.VERSION}": json.dumps(about).encode(), f"/{name}": buffer.getvalue()}


async def test_the_server_the_user_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tiny_project.script(tmp_path / "mine")
    monkeypatch.setenv("FREEHOLD_LLAMA_SERVER", str(mine))
    assert await llama_cpp.ensure(tmp_path / "cache", Watched()) == mine
    assert not (tmp_path / "cache").exists()


async def test_a_server_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_project.script(tmp_path / "bin" / "llama-server")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert await llama_cpp.existing(tmp_path / "cache") == llama_cpp.Found(tmp_path / "bin" / "llama-server", "on the PATH")


async def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_project.script(tmp_path / "bin" / "llama-server", flags="--model --port")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert await llama_cpp.existing(tmp_path / "cache") is None


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (tiny_project.FLAGS, 3, "does not run: version: script"),
        (tiny_project.FLAGS.replace("--cache-ram", ""), 0, "does not run: it does not know --cache-ram"),
        (None, 0, "does not run: No such file or directory"),
    ],
)
async def test_a_server_the_user_names_that_does_not_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None, status: int, message: str
) -> None:
    if flags is not None:
        tiny_project.script(tmp_path / "mine", flags=flags, status=status)
    monkeypatch.setenv("FREEHOLD_LLAMA_SERVER", str(tmp_path / "mine"))
    with pytest.raises(ConfigError, match=f"FREEHOLD_LLAMA_SERVER: .*mine {message}"):
        await llama_cpp.ensure(tmp_path / "cache", Watched())


async def test_the_official_binary_is_taken_where_it_runs(tmp_path: Path, server: FileServer, origins: llama_cpp.Origins) -> None:
    publish(server, tiny_project.script(tmp_path / "built"))
    program = await llama_cpp.ensure(tmp_path / "cache", Watched(), origins=origins)
    assert subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout == "version: script\n"
    server.asked.clear()
    assert await llama_cpp.ensure(tmp_path / "cache", Watched(), origins=origins) == program
    assert server.asked == []


async def test_an_official_binary_that_does_not_run_here_is_dropped_and_the_source_built(
    tmp_path: Path, server: FileServer, origins: llama_cpp.Origins
) -> None:
    publish(server, tiny_project.script(tmp_path / "foreign", status=1))
    watched = Watched()
    program = await llama_cpp.ensure(tmp_path / "cache", watched, origins=origins)
    assert watched.said[0] == "no official llama.cpp binary: the official binary does not run here: version: script"
    assert program == tmp_path / "cache" / "engines" / "llama.cpp" / llama_cpp.VERSION / "llama-server"


async def test_without_a_release_it_is_built_once_and_the_build_tree_goes(
    tmp_path: Path, server: FileServer, origins: llama_cpp.Origins
) -> None:
    watched = Watched()
    program = await llama_cpp.ensure(tmp_path / "cache", watched, origins=origins)
    assert watched.said[0] == f"no official llama.cpp binary: 127.0.0.1 answered HTTP 404 for release {llama_cpp.VERSION} of llama.cpp"
    assert subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout == "version: tiny\n"
    home = tmp_path / "cache" / "engines" / "llama.cpp"
    assert {path.name for path in home.iterdir()} == {llama_cpp.VERSION, ".lock"}
    assert {path.name for path in (home / llama_cpp.VERSION).iterdir()} == {"llama-server", "build.log", "built-for"}
    server.asked.clear()
    assert await llama_cpp.ensure(tmp_path / "cache", Watched(), origins=origins) == program
    assert server.asked == []


async def test_a_failed_build_leaves_no_server_and_keeps_its_log(
    tmp_path: Path, origins: llama_cpp.Origins, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gate.sh").write_text("echo the gate is closed; exit 1\n")
    with pytest.raises(FreeholdError, match="the gate is closed"):
        await llama_cpp.ensure(tmp_path / "cache", Watched(), origins=origins)
    assert await llama_cpp.existing(tmp_path / "cache") is None
    assert (tmp_path / "cache" / "engines" / "llama.cpp" / f"{llama_cpp.VERSION}-build" / "build.log").exists()


async def test_a_server_built_for_another_processor_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / "engines" / "llama.cpp" / llama_cpp.VERSION
    program = tiny_project.script(home / "llama-server")
    assert await llama_cpp.existing(tmp_path) == llama_cpp.Found(program, "in the cache")
    (home / "built-for").write_text("sse2\navx9000")
    assert await llama_cpp.existing(tmp_path) is None
