"""Starts and asks the stack through the command line of whichever version is in place: the code of the other one is never loaded."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freehold.config import env
from freehold.core.errors import Incompatible, NotConfigured, Unhealthy
from freehold.core.progress import Progress
from freehold.operate.upgrade import environment, unit
from freehold.operate.upgrade.journal import Journal
from freehold.targets.native.files import write_private
from freehold.targets.native.home import Home

_QUESTION = "Answer with one word: are you there?"
#: A model on a laptop may read a prompt for minutes.
_ANSWER_SECONDS = 600.0


def last_version(home: Home) -> str:
    """Version of Freehold that started the stack last, whatever else it wrote.

    Raises:
        NotConfigured: none was ever started here.
    """
    try:
        return str(json.loads(home.stack_file.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError) as error:
        raise NotConfigured(f"no stack was started in {home.path}", hint="start one with `freehold up`") from error


def supervisor(home: Home) -> int | None:
    """Pid of the running supervisor."""
    return int(text) if home.is_running() and (text := home.lock_file.read_text().strip()).isdigit() else None


def keep_stack(home: Home) -> None:
    """The new version writes its own rendered stack; the old one's is needed on the way back."""
    shutil.copyfile(home.stack_file, _kept(home))


def put_back_stack(home: Home) -> None:
    """What `keep_stack` kept."""
    if _kept(home).exists():
        write_private(home.stack_file, _kept(home).read_text(encoding="utf-8"))


def _kept(home: Home) -> Path:
    return home.stack_file.with_name("stack.before-upgrade.json")


async def start(home: Home, now: Journal, progress: Progress) -> None:
    """Start the stack as it was started last, and wait until it is well.

    Raises:
        Unhealthy: it is not.
    """
    if now.unit:
        await unit.tell(now.unit, "start")
        return
    with progress.step(f"starting the stack with the Freehold in {now.environment or sys.prefix}"):
        await _ask(now, "up", "--detach", "--yes", "--json", *_config(now), *_options(home))


def _options(home: Home) -> Sequence[str]:
    try:
        return [str(option) for option in json.loads(home.options_file.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return ()


async def require_fitting(place: Path, now: Journal) -> None:
    """Raises Incompatible where the Freehold of an environment does not take the settings."""
    try:
        await _ask(now, "config", "show", "--json", *_config(now), command=environment.command_in(place))
    except Unhealthy as error:
        raise Incompatible(f"the new version does not take these settings: {error.message}", hint=error.hint) from error


async def require_well(now: Journal) -> None:
    """Raises Unhealthy where something is not well, or another version runs than the one in place."""
    told = await _ask(now, "status", "--json")
    if not told.get("healthy"):
        raise Unhealthy("not every service is well")
    if told.get("version") != now.new:
        raise Unhealthy(f"Freehold {told.get('version')} runs, not {now.new}")


async def require_answer(now: Journal, progress: Progress) -> None:
    """One question to the agent, from the agent server through a worker to the model and back. Raises Unhealthy."""
    with progress.step("asking the agent"):
        told = await _ask(now, "ask", _QUESTION, "--json")
        if not str(told.get("answer", "")).strip():
            raise Unhealthy("the agent answered nothing")


def _config(now: Journal) -> Sequence[str]:
    return ("--config", now.config) if now.config else ()


async def _ask(now: Journal, *arguments: str, command: Sequence[str] | None = None) -> dict[str, Any]:
    """The JSON that a command prints; its error becomes ours."""
    if command is None:
        command = environment.command_in(Path(now.environment)) if now.environment else [sys.executable, "-P", "-m", "freehold"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=now.project,
        env=env.inherited(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS if arguments[0] == "ask" else None):
            output, said = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise Unhealthy(f"`freehold {arguments[0]}` did not answer within {_ANSWER_SECONDS:.0f} s") from error
    if process.returncode:
        raise _failure(arguments[0], said.decode(errors="replace"))
    return dict(json.loads(output))


def _failure(command: str, said: str) -> Unhealthy:
    lines = [line for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        if '"error"' in line and line.startswith("{"):
            error = json.loads(line)["error"]
            return Unhealthy(str(error["message"]), hint=error.get("hint"))
    return Unhealthy(f"`freehold {command}` failed", hint="\n".join(lines[-4:]) or None)
