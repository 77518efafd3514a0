"""Runs the long programs of an engine's installation (compilers, pip) so that they end with us, are logged, and can be followed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from freehold.config import env
from freehold.core import child

_END_SECONDS = 5
_LINE_BYTES = 1024 * 1024


async def run(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Run a program to its end, appending what it prints to `log`.

    It runs in a session of its own and ends when this task is cancelled or this process dies.

    Args:
        environment: variables on top of ours.
        on_line: called with every line it prints.

    Returns:
        Its exit status.
    """
    # child.py starts it: it asks the kernel to end the program with us.
    wrapped = [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(int(signal.SIGTERM)), "-", str(folder), "--", *command]
    with _append_to(log) as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        process = await asyncio.create_subprocess_exec(
            *wrapped,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env.inherited(environment),
            limit=_LINE_BYTES,
        )
        try:
            await _follow(process, out, on_line)
            return await process.wait()
        finally:
            await _end(process)


async def _follow(process: asyncio.subprocess.Process, out: BinaryIO, on_line: Callable[[str], None] | None) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        out.write(line)
        if on_line:
            on_line(line.decode(errors="replace").rstrip())


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the whole session (ninja then ends its compilers and removes half-written objects), SIGKILL to what stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""


def _append_to(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab", buffering=0)
