"""Programs of the distribution without root rights: one that is there is taken, else its packages are unpacked into the cache.

apt checks what it downloads against the distribution's signatures. Nothing is installed: no service of the system is started, no user
made, and `reset` or another version leave the system as it was.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

from freehold.core.errors import DownloadError, Incompatible
from freehold.core.progress import Progress
from freehold.models.download import files
from freehold.targets.native.engines import command

#: Where servers lie that are not meant for everybody's PATH.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_COMPLETE = ".complete"
_INSIDE = ("usr/bin", "usr/sbin", "bin", "sbin")


def on_path(name: str, oldest: str | None = None) -> Path | None:
    """A program on the PATH, or where the system keeps servers; with `oldest`, e.g. "1.21", one that says it is no older."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(SYSTEM_FOLDERS))
    if found is None or (oldest and _says_version(found) < _numbers(oldest)):
        return None
    return Path(found)


def _says_version(program: str) -> tuple[int, ...]:
    """What `--version` says, e.g. (1, 24, 1); nothing where it says none."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\d+(\.\d+)+", said)
    return _numbers(match[0]) if match else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def unpacked(packages: tuple[str, ...], name: str, cache: Path) -> tuple[str, ...] | None:
    """How a program is started that was unpacked before."""
    home = _home(packages, cache)
    if not (home / _COMPLETE).exists():
        return None
    return next(((str(home / inside / name),) for inside in _INSIDE if (home / inside / name).is_file()), None)


async def fetch(program: str, packages: tuple[str, ...], name: str, cache: Path, progress: Progress) -> tuple[str, ...]:
    """Unpack the packages into the cache and say how the program is started.

    Raises:
        Incompatible: there is no apt here.
        DownloadError: it does not give the packages, or they hold no such program.
    """
    by_hand = f"install it: `apt-get install {' '.join(packages)}`"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Incompatible(
            f"{program} is not on the PATH, and comes with packages of Debian and Ubuntu alone",
            hint=f"install your system's package of {packages[0]}, so that `{name}` is on the PATH",
        )
    home = _home(packages, cache)
    work = home.with_name(f"{home.name}.install")
    async with files.locked(work, program, progress):
        if not unpacked(packages, name, cache):
            with progress.step(f"fetching {program} from the distribution", total=None):
                await _unpack(program, packages, home, work, by_hand)
    found = unpacked(packages, name, cache)
    if found is None:
        raise DownloadError(f"the packages {', '.join(packages)} hold no program {name}", hint=by_hand)
    return found


async def _unpack(program: str, packages: tuple[str, ...], home: Path, work: Path, by_hand: str) -> None:
    log = work / "install.log"
    partial = work / "unpacked"
    await asyncio.to_thread(_start_over, home, work, log)
    if await command.run(["apt-get", "download", *packages], folder=work, log=log):
        raise DownloadError(
            f"{program} could not be fetched from the distribution: {_reason(log)}",
            hint=f"`apt-get update` as root refreshes its lists; or {by_hand}",
        )
    for archive in _archives(work):
        if await command.run(["dpkg", "-x", str(archive), str(partial)], folder=work, log=log):
            raise DownloadError(f"{archive.name} could not be unpacked: {_reason(log)}", hint=by_hand)
    await asyncio.to_thread(_finish, partial, home, work)


def _home(packages: tuple[str, ...], cache: Path) -> Path:
    return cache / "services" / f"debian-{'-'.join(packages)}"


def _start_over(home: Path, work: Path, log: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(work / "unpacked", ignore_errors=True)
    log.unlink(missing_ok=True)
    for archive in _archives(work):
        archive.unlink()


def _finish(partial: Path, home: Path, work: Path) -> None:
    partial.rename(home)
    (home / _COMPLETE).touch()
    for archive in _archives(work):
        archive.unlink()


def _archives(work: Path) -> list[Path]:
    return sorted(work.glob("*.deb"))


def _reason(log: Path) -> str:
    text = command.last_lines(log, 40)
    errors = re.findall(r"^E: (.*)$", text, flags=re.MULTILINE)
    return errors[0] if errors else (text.splitlines() or ["it says nothing"])[-1]
