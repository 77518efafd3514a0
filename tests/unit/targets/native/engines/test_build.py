import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.unit.models.file_server import Watched
from tests.unit.targets.native.engines import tiny_project

from freehold.core.errors import DownloadError, FreeholdError, Incompatible
from freehold.core.machine import GIB, Machine
from freehold.targets.native.engines import build
from freehold.targets.native.engines.index import Archive


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What the build runs in its middle; nothing, until a test says otherwise."""
    (tmp_path / "gate.sh").write_text("exit 0\n")
    return tmp_path / "gate.sh"


@pytest.fixture
def source(tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    (tmp_path / "links").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return tiny_project.write(tmp_path / "links", gate=gate)


async def run(tmp_path: Path, source: Archive, watched: Watched | None = None) -> Path:
    return await build.build(tmp_path / "cache", tmp_path / "work", watched or Watched(), source=source, under="inner")


def running(mark: str) -> list[int]:
    """Processes that have this text in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(mark in argument for argument in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_the_binary_is_built_and_runs(tmp_path: Path, source: Archive) -> None:
    watched = Watched()
    program = await run(tmp_path, source, watched)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "version: tiny\n"
    assert "building llama.cpp from source: about" in watched.said[0]
    assert "OPENAI_BASE_URL" in watched.said[0]
    steps = watched.totals["building llama-server"]
    assert steps and watched.done["building llama-server"] == steps


async def test_what_the_compilers_said_is_kept(tmp_path: Path, source: Archive) -> None:
    await run(tmp_path, source)
    log = (tmp_path / "work" / "build.log").read_text()
    assert "$ " in log and "Building CXX object" in log


async def test_cancelling_ends_the_compilers_and_the_next_build_goes_on(tmp_path: Path, source: Archive, gate: Path) -> None:
    gate.write_text(f"echo started > {tmp_path}/started\nexec sleep 300 # {gate}\n")
    task = asyncio.create_task(run(tmp_path, source))
    while not (tmp_path / "started").exists():
        assert not task.done(), task.result()
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running(str(tmp_path)) == []
    gate.write_text("exit 0\n")
    program = await run(tmp_path, source)
    assert program.is_file()
    log = (tmp_path / "work" / "build.log").read_text()
    assert log.count("first.cpp.o") == 1


async def test_a_build_that_fails_shows_the_end_of_its_log(tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "links").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    broken = tiny_project.write(tmp_path / "links", gate=gate, main="int main() { return undeclared; }")
    with pytest.raises(FreeholdError, match=r"compiling llama.cpp failed with status \d+; the end of .*build\.log") as caught:
        await run(tmp_path, broken)
    assert "undeclared" in caught.value.message
    assert "FREEHOLD_LLAMA_SERVER" in (caught.value.hint or "")


async def test_a_source_archive_that_differs_is_not_unpacked(tmp_path: Path, source: Archive) -> None:
    other = Archive(source.project, type(source.file)(source.file.path, source.file.size, "0" * 64))
    with pytest.raises(DownloadError, match="its hash differs"):
        await run(tmp_path, other)
    assert not (tmp_path / "work" / "source").exists()


@pytest.mark.parametrize("there", [(), ("cc",), ("c++",), ("gcc", "make")])
def test_a_missing_compiler_names_the_packages_and_the_way_around(there: tuple[str, ...]) -> None:
    with pytest.raises(Incompatible, match=r"there is no C\+\+ compiler") as caught:
        build.require_compiler(lambda name: f"/usr/bin/{name}" if name in there else None)
    hint = caught.value.hint or ""
    assert all(part in hint for part in ("apt install g++", "dnf install gcc-c++", "xcode-select --install", "OPENAI_BASE_URL"))


@pytest.mark.parametrize("there", [("cc", "c++"), ("gcc", "g++"), ("clang", "clang++")])
def test_any_c_and_cpp_compiler_will_do(there: tuple[str, ...]) -> None:
    build.require_compiler(lambda name: f"/usr/bin/{name}" if name in there else None)


@pytest.mark.parametrize(("cpus", "memory", "free", "jobs"), [(2, 24, 20, 2), (16, 24, 6, 4), (16, 4, 20, 2), (8, 1, 0.5, 1)])
def test_there_are_no_more_compilers_than_memory_holds(cpus: int, memory: float, free: float, jobs: int) -> None:
    assert build.job_count(Machine("Linux", "x86_64", cpus, int(memory * GIB)), int(free * GIB)) == jobs


@pytest.fixture
def own_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Tools in the cache from an earlier build, and none on the PATH."""
    folder = tmp_path / "cache" / "tools" / "-".join(build._TOOLS).replace("==", "-")
    (folder / "cmake" / "data" / "bin").mkdir(parents=True)
    (folder / "bin").mkdir()
    for name, path in (("cmake", folder / "cmake" / "data" / "bin" / "cmake"), ("ninja", folder / "bin" / "ninja")):
        path.symlink_to(shutil.which(name) or name)
    monkeypatch.setattr(build.shutil, "which", lambda name: None if name in {"cmake", "ninja"} else f"/usr/bin/{name}")
    yield folder


async def test_tools_from_an_earlier_build_are_used_where_the_machine_has_none(tmp_path: Path, source: Archive, own_tools: Path) -> None:
    assert (await run(tmp_path, source)).is_file()
    assert str(own_tools) in (tmp_path / "work" / "build.log").read_text()
