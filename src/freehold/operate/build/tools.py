"""The programs a build calls: uv to resolve, pip to fetch. Both take indexes, proxies and certificates from their own settings."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from freehold.config import env
from freehold.core.errors import DownloadError, NotConfigured

#: Lines of a program that failed which are worth showing.
_SHOWN_LINES = 12


def uv() -> list[str]:
    """How uv is called.

    Raises:
        NotConfigured: it is not installed.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise NotConfigured("`freehold build` needs uv, which is not installed", hint="`pip install uv` in the environment of Freehold")
    return [found]


def pip() -> list[str]:
    """How pip is called; an environment that uv made has none, so uv fetches it then."""
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [*uv(), "tool", "run", "pip"]


async def run(command: Sequence[str], failure: str, *, extra: Mapping[str, str] | None = None) -> str:
    """What a program printed.

    Raises:
        DownloadError: it failed; its last lines are the hint.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env.inherited(extra),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        last = [line for line in errors.decode(errors="replace").splitlines() if line.strip()][-_SHOWN_LINES:]
        raise DownloadError(failure, hint="\n".join(last) or f"{command[0]} ended with {process.returncode}")
    return output.decode()
