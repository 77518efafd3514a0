"""llama.cpp's server on this machine: one that is there, else the project's own binary, else built from source."""

from __future__ import annotations

import asyncio
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from freehold.config import env
from freehold.core.errors import ConfigError, DownloadError, FreeholdError, Incompatible
from freehold.core.progress import Progress
from freehold.models import catalogue
from freehold.models.download import files
from freehold.models.engines import llama_cpp_arguments
from freehold.targets.native.engines import build, index, processor, release

#: The release that was tried with this version of Freehold; source and binary are of the same tag.
VERSION = "b11434"

_VERSION_SECONDS = 20
#: Beside a server built here: the instructions it may use.
_BUILT_FOR = "built-for"
_FLAGS = tuple(
    argument
    for argument in llama_cpp_arguments(catalogue.models()[0], Path("m"), host="h", port=1, context=1, parallel=1, threads=1)
    if argument.startswith("--")
)


@dataclass(frozen=True)
class Origins:
    """Where a llama-server comes from that is not here yet."""

    release_api: str = release.API
    source: index.Archive = build.SOURCE
    #: Folder of the source archive that holds llama.cpp.
    source_folder: str = build.SOURCE_FOLDER


ORIGINS = Origins()


@dataclass(frozen=True)
class Found:
    """A llama-server that can be used as it is."""

    path: Path
    origin: str


async def ensure(cache: Path, progress: Progress, *, origins: Origins = ORIGINS) -> Path:
    """A `llama-server` that runs on this machine.

    Order: FREEHOLD_LLAMA_SERVER; one on the PATH; one fetched or built before; the official release; a build from source.

    Args:
        cache: the user's cache folder; engines live in `<cache>/engines`.
        origins: other places to fetch from.

    Raises:
        ConfigError: FREEHOLD_LLAMA_SERVER does not run.
        Incompatible: it has to be built and there is no compiler.
        DownloadError, OutOfSpace, FreeholdError: fetching or building failed.
    """
    if found := await existing(cache):
        return found.path
    home = cache / "engines" / "llama.cpp"
    async with files.locked(home, "llama-server", progress):
        if found := await existing(cache):  # somebody else just finished
            return found.path
        try:
            program = await _from_release(home, progress, origins)
        except (DownloadError, Incompatible) as error:
            progress.say(f"no official llama.cpp binary: {error.message}")
        else:
            return program
        return await _from_source(cache, home, progress, origins)


async def existing(cache: Path) -> Found | None:
    """The llama-server that is here already, if any; nothing is fetched.

    Raises:
        ConfigError: FREEHOLD_LLAMA_SERVER names one that does not run.
    """
    if path := _chosen():
        if problem := await _problem(path, flags=True):
            raise ConfigError(f"FREEHOLD_LLAMA_SERVER: {path} does not run: {problem}", hint="correct or unset it")
        return Found(path, "FREEHOLD_LLAMA_SERVER")
    if (on_path := shutil.which("llama-server")) and not await _problem(Path(on_path), flags=True):
        return Found(Path(on_path), "on the PATH")
    for program in _cached(cache / "engines" / "llama.cpp"):
        if not await _problem(program):
            return Found(program, "in the cache")
    return None


def _chosen() -> Path | None:
    chosen = env.get("FREEHOLD_LLAMA_SERVER")
    return Path(chosen).expanduser() if chosen else None


def _cached(home: Path) -> tuple[Path, ...]:
    built, released = home / VERSION / "llama-server", home / f"{VERSION}-release"
    found = [built] if processor.suits(built.with_name(_BUILT_FOR)) else []
    return tuple(path for path in (*found, *released.rglob("llama-server")) if path.is_file())


async def _from_release(home: Path, progress: Progress, origins: Origins) -> Path:
    folder = home / f"{VERSION}-release"
    architecture = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    program = await release.fetch(VERSION, platform.system(), architecture, folder, progress, api=origins.release_api)
    if problem := await _problem(program):
        shutil.rmtree(folder, ignore_errors=True)
        raise Incompatible(f"the official binary does not run here: {problem}")
    return program


async def _from_source(cache: Path, home: Path, progress: Progress, origins: Origins) -> Path:
    work = home / f"{VERSION}-build"
    program = await build.build(cache, work, progress, source=origins.source, under=origins.source_folder)
    if problem := await _problem(program):
        raise FreeholdError(f"the llama-server built in {work} does not run: {problem}")
    final = home / VERSION
    await asyncio.to_thread(_install, program, work, final)
    return final / "llama-server"


def _install(program: Path, work: Path, final: Path) -> None:
    """Put the binary and its log in place at once, then drop the build tree."""
    partial = final.with_name(final.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copyfile(program, partial / "llama-server")
    (partial / "llama-server").chmod(0o755)
    processor.save(partial / _BUILT_FOR)
    with suppress(OSError):
        shutil.copyfile(work / "build.log", partial / "build.log")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    shutil.rmtree(work, ignore_errors=True)


async def _problem(program: Path, *, flags: bool = False) -> str | None:
    """Why a llama-server cannot be used; None: it runs.

    Args:
        flags: also check that it is new enough to know every option we start it with.
    """
    problem, _ = await _ask(program, "--version")
    if problem or not flags:
        return problem
    _, manual = await _ask(program, "--help")
    missing = [flag for flag in _FLAGS if flag not in manual]
    return f"it does not know {', '.join(missing)}" if missing else None


async def _ask(program: Path, question: str) -> tuple[str | None, str]:
    """(what went wrong, what it printed)"""
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(program), question),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return error.strerror or str(error), ""
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _VERSION_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"no answer to {question} in {_VERSION_SECONDS} seconds", ""
    text = output.decode(errors="replace").strip()
    if process.returncode:
        return (text.splitlines()[-1][:200] if text else f"{question} ended with status {process.returncode}"), text
    return None, text
