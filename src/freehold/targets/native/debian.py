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
    match = re.search(r"\d+(\.\d+)+", said.partition("\n")[0])  # further lines tell of libraries
    return _numbers(match[0]) if match else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def unpacked(packages: tuple[str, ...], name: str, cache: Path, *, share: bool = False) -> tuple[str, ...] | None:
    """How a program is started that was unpacked before.

    Args:
        share: the program looks for files of its packages in `/usr/share` and nowhere else.
    """
    home = _home(packages, cache)
    if not (home / _COMPLETE).exists():
        return None
    found = next((home / inside / name for inside in _INSIDE if (home / inside / name).is_file()), None)
    if found is None:
        return None
    return (*_SHARED, str(home / "usr" / "share"), str(found)) if share else (str(found),)


#: Starts a program that sees a folder of ours as /usr/share: in a mount namespace that ends with it, as a user who may mount in there
#: alone. The kernel forgets on the way with whom it is to end, so it is told again.
_SHARED = (
    *("/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c"),
    'mount --bind "$0" /usr/share && exec setpriv --pdeathsig TERM "$@"',
)


async def can_share() -> bool:
    """Whether this system lets us make such a namespace; some containers and hardened kernels do not."""
    try:
        process = await asyncio.create_subprocess_exec(
            *_SHARED, "/usr/share", "/bin/true", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return False
    return await process.wait() == 0


async def fetch(
    program: str, packages: tuple[str, ...], name: str, cache: Path, progress: Progress, *, share: bool = False
) -> tuple[str, ...]:
    """Unpack the packages into the cache and say how the program is started; `share` as in `unpacked`.

    Raises:
        Incompatible: there is no apt here.
        DownloadError: it does not give the packages, or they hold no such program.
    """
    by_hand = f"install it: `apt-get install {' '.join(packages)}`"
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if not (apt and dpkg):
        raise Incompatible(
            f"{program} is not on the PATH, and comes with packages of Debian and Ubuntu alone",
            hint=f"install your system's package of {packages[0]}, so that `{name}` is on the PATH",
        )
    if share and not await can_share():
        raise Incompatible(f"{program} has to be installed on this system: it is not allowed to run from elsewhere", hint=by_hand)
    home = _home(packages, cache)
    work = home.with_name(f"{home.name}.install")
    async with files.locked(work, program, progress):
        if not unpacked(packages, name, cache):
            with progress.step(f"fetching {program} from the distribution", total=None):
                await _unpack(program, packages, home, work, by_hand, (apt, dpkg))
    found = unpacked(packages, name, cache, share=share)
    if found is None:
        raise DownloadError(f"the packages {', '.join(packages)} hold no program {name}", hint=by_hand)
    return found


async def _unpack(program: str, packages: tuple[str, ...], home: Path, work: Path, by_hand: str, tools: tuple[str, str]) -> None:
    log = work / "install.log"
    partial = work / "unpacked"
    apt, dpkg = tools
    await asyncio.to_thread(_start_over, home, work, log)
    if await command.run([apt, "download", *packages], folder=work, log=log):
        raise DownloadError(
            f"{program} could not be fetched from the distribution: {_reason(log)}",
            hint=f"`apt-get update` as root refreshes its lists; or {by_hand}",
        )
    for archive in _archives(work):
        if await command.run([dpkg, "-x", str(archive), str(partial)], folder=work, log=log):
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
