"""Starting and ending a rendered stack from outside: the supervisor as a process, waiting until it answers, an orderly end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from freehold.config import env, paths
from freehold.control import client
from freehold.control.protocol import GOOD, ServiceStatus, StackStatus, socket_path
from freehold.core import child
from freehold.core.errors import Incompatible, TimedOut, Unhealthy
from freehold.core.progress import Progress, Step
from freehold.targets.native import arrange, files, leftovers, logs
from freehold.targets.native.home import MARKER, Home
from freehold.targets.native.process import Rendered

#: How often a starting or ending stack is asked how it is.
INTERVAL = 0.1
#: The supervisor itself has to answer within this time.
SUPERVISOR_SECONDS = 30.0
#: How many answers in a row may be late before a start is given up.
PATIENCE = 5
#: A whole stack has to end within this time; each service has a grace time of its own.
STOP_SECONDS = 180.0

#: Folders and files of a state folder that `reset` deletes; anything else in it is not ours.
OWN_ENTRIES = (
    "native",
    "secrets",
    "logs",
    "metrics",
    "files",
    "data",
    "backups",
    "postgres",
    "postgres.new",
    "postgres.access",
    "valkey",
    "compose",
)

#: The one file among the sockets.
_POSTGRES_LOCK = ".s.PGSQL.5432.lock"


def start(rendered: Rendered, home: Home, *, attached: bool) -> subprocess.Popen[bytes]:
    """Write the rendered stack down and start its supervisor.

    Args:
        attached: the supervisor ends when this process does.
    """
    _empty_metrics(home.metrics)
    files.write_private(home.stack_file, rendered.to_json())
    return supervise(home, attached=attached)


def supervise(home: Home, *, attached: bool, only: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start the supervisor of the stack that was written down.

    Args:
        only: the processes to run, where not all; their needs among them.
    """
    logs.rotate_if_large(home.log("supervisor"))
    handle = logs.open_for_append(home.log("supervisor"))
    command = [sys.executable, "-P", "-m", "freehold.targets.native.supervisor", str(home.path), *only]
    if attached:
        command = [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), "15", "-", os.getcwd(), "--", *command]  # noqa: PTH109
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            command, env=env.inherited(), stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, start_new_session=not attached
        )
    finally:
        os.close(handle)


async def status(home: Home) -> StackStatus:
    """How the running stack is.

    Raises:
        Unhealthy: none is running.
    """
    return await client.status(socket_path(paths.runtime(home.path)))


async def _patient_status(home: Home) -> StackStatus:
    """One that is late is asked for again: a busy machine is no reason to give up a start."""
    for _ in range(PATIENCE):
        with suppress(TimedOut):
            return await status(home)
    return await status(home)


async def until_healthy(home: Home, supervisor: subprocess.Popen[bytes] | None, progress: Progress) -> StackStatus:
    """Wait until every service is well, showing each one's start.

    Raises:
        Unhealthy: a service failed; the message has its last lines, and the supervisor still runs.
    """
    await until_answering(home, supervisor)
    with ExitStack() as open_steps:
        steps: dict[str, tuple[Step, ExitStack]] = {}
        while True:
            now = await _patient_status(home)
            for service in now.services:
                _show(service, steps, open_steps, progress)
            if failed := [service for service in now.services if service.state == "failed"]:
                raise _failure(failed)
            if now.is_healthy:
                return now
            await asyncio.sleep(INTERVAL)


async def stop(home: Home, progress: Progress) -> list[str]:
    """End everything of this stack in order, also what a killed supervisor left behind; return the names of what ran.

    Raises:
        TimedOut: something is still there after its grace time.
        ConfigError: it is another user's.
    """
    names: list[str] = []
    if not home.is_ours:
        return names
    home.require_own()
    if home.is_running():
        names = await _stop_supervisor(home, progress)
    names += await asyncio.to_thread(leftovers.end, leftovers.read(home.processes_file))
    home.processes_file.unlink(missing_ok=True)  # writing an empty list would fail on a full disk
    _clear_runtime(paths.runtime(home.path))
    return names


async def end(supervisor: subprocess.Popen[bytes], progress: Progress) -> None:
    """End a supervisor that we spawned, and its services; also one so young that it does not hold its folder yet.

    Raises:
        TimedOut: it is still there.
    """
    supervisor.terminate()
    with progress.step("stopping", unit="seconds"):
        deadline = time.monotonic() + STOP_SECONDS
        while supervisor.poll() is None:
            if time.monotonic() > deadline:
                raise TimedOut("the stack does not end", hint=f"`freehold logs supervisor`; its pid is {supervisor.pid}")
            await asyncio.sleep(INTERVAL)


def delete(home: Home) -> None:
    """Delete all data of a stopped stack, and nothing that is not ours.

    Raises:
        ConfigError: the folder is not a stack's.
    """
    home.require_ours()
    for name in OWN_ENTRIES:
        _delete(home.path / name)
    if os.getuid() == 0:
        _delete(arrange.system_folder(home))
    _clear_runtime(paths.runtime(home.path))
    if [entry.name for entry in home.path.iterdir()] == [MARKER]:
        (home.path / MARKER).unlink()
        home.path.rmdir()


async def until_answering(home: Home, supervisor: subprocess.Popen[bytes] | None) -> None:
    """Wait until the supervisor holds the folder and answers.

    Raises:
        Unhealthy: it ended at once, or does not answer in time.
    """
    deadline = time.monotonic() + SUPERVISOR_SECONDS
    while True:
        try:
            await _patient_status(home)
            return
        except Unhealthy:
            if supervisor and supervisor.poll() is not None and not home.is_running():
                lines = logs.tail(home.log("supervisor"), 5)
                raise Unhealthy("the supervisor ended at once:\n" + "\n".join(lines), hint="`freehold doctor` looks for causes") from None
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(INTERVAL)


def _show(service: ServiceStatus, steps: dict[str, tuple[Step, ExitStack]], open_steps: ExitStack, progress: Progress) -> None:
    if service.state not in ("waiting", "stopped", *GOOD) and service.name not in steps:
        own = ExitStack()
        steps[service.name] = (own.enter_context(progress.step(service.about, unit="seconds")), own)
        open_steps.push(own)
    if service.name in steps:
        step, own = steps[service.name]
        if service.state in GOOD:
            own.close()
        elif service.why:
            step.note(service.why)


def _failure(failed: Iterable[ServiceStatus]) -> Unhealthy:
    parts, names = [], []
    for service in failed:
        lines = "\n".join(f"    {line}" for line in logs.tail(Path(service.log), 8))
        parts.append(f"{service.name} does not start: {service.why}\n{lines}")
        names.append(service.name)
    return Unhealthy("\n".join(parts), hint=f"`freehold logs {names[0]}` has all of it; `freehold doctor` looks for causes")


async def _stop_supervisor(home: Home, progress: Progress) -> list[str]:
    socket = socket_path(paths.runtime(home.path))
    recorded = leftovers.read(home.processes_file)
    try:
        before = await client.status(socket)
        await client.stop(socket)
    except (Unhealthy, TimedOut, Incompatible):  # not listening yet, stuck, or of another version: a signal needs no protocol
        before = None
        home.signal_supervisor(signal.SIGTERM)
    names = [service.name for service in before.services if service.pid] if before else [left.name for left in recorded]
    with progress.step("stopping", unit="seconds") as step:
        deadline = time.monotonic() + STOP_SECONDS
        while home.is_running():
            if time.monotonic() > deadline:
                raise TimedOut("the stack does not end", hint=f"`freehold logs supervisor`; its pid is in {home.lock_file}")
            try:
                now = await client.status(socket)
                step.note(", ".join(service.name for service in now.services if service.pid))
            except (Unhealthy, TimedOut, Incompatible):
                pass
            await asyncio.sleep(INTERVAL)
    return names


def _clear_runtime(runtime: Path) -> None:
    """Remove the sockets of servers that did not end by themselves, then the folder, if it is ours alone and nothing else is in it.

    Anybody can make a folder or a link of this name in /tmp, so what is not private is left alone.
    """
    if not paths.is_private(runtime):
        return
    for entry in runtime.iterdir():
        if stat.S_ISSOCK(entry.lstat().st_mode) or entry.name == _POSTGRES_LOCK:
            entry.unlink(missing_ok=True)
    with suppress(OSError):
        runtime.rmdir()


def _empty_metrics(folder: Path) -> None:
    files.make_folder(folder)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
