"""From settings to a running stack: the steps of `freehold up`, in order.

1. is it running already?  2. plan  3. ports, space  4. engine and model  5. secrets  6. render  7. supervisor  8. wait until well
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from freehold.config.load import Loaded
from freehold.control.protocol import StackStatus
from freehold.core.progress import Progress
from freehold.stack.plan import Stack, given_secrets, plan
from freehold.targets.native import arrange, machine, ports, run, secrets
from freehold.targets.native.home import Home
from freehold.targets.native.model import Prepared
from freehold.targets.native.render import render
from freehold.targets.native.starting import StartLock


@dataclass(frozen=True)
class Outcome:
    """A stack that is up."""

    status: StackStatus
    #: It ran before; nothing was started.
    was_running: bool = False
    #: Settings or version changed since it was started.
    needs_restart: bool = False
    #: The first API key, only where it was made just now: shown once.
    new_api_key: str | None = None
    #: The password of Open WebUI's first administrator, where it was made just now: shown once too.
    new_webui_password: str | None = None
    #: The supervisor, where this command started it.
    supervisor: subprocess.Popen[bytes] | None = None


#: Fetches and builds what serves the model; the one step that may take minutes.
Prepare = Callable[[Stack], Awaitable[Prepared]]


async def up(loaded: Loaded, home: Home, progress: Progress, *, prepare: Prepare, attached: bool = False) -> Outcome:
    """Start the stack unless it runs already, and wait until every service is well.

    Args:
        attached: the stack ends with this process.

    Raises:
        Conflict: a port is taken.
        OutOfSpace: the disk or memory does not suffice.
        Unhealthy: a service does not start; then everything was stopped again.
    """
    home.create()
    stack = await asyncio.to_thread(lambda: plan(loaded.settings, machine.detect(), version=version("freehold")))
    with StartLock(home.start_lock) as lock:
        await lock.wait(progress)
        if not home.is_running():
            return await _start(loaded, stack, home, progress, lock, prepare=prepare, attached=attached)
    now = await run.until_healthy(home, None, progress)
    return Outcome(now, was_running=True, needs_restart=now.fingerprint != stack.fingerprint)


async def _start(
    loaded: Loaded, stack: Stack, home: Home, progress: Progress, lock: StartLock, *, prepare: Prepare, attached: bool
) -> Outcome:
    await _end_leftovers(home, progress)
    ports.check(port for service in stack.services for port in service.ports)
    arrange.check_space(home.path)
    prepared = await prepare(stack)
    made = secrets.ensure(home.secrets, stack.secrets, given_secrets(loaded.settings))
    layout = await asyncio.to_thread(
        lambda: arrange.layout(stack, home, project=Path.cwd(), config=loaded.file, prepared=prepared.programs, models=prepared.models)
    )
    supervisor = run.start(render(stack, layout, version=version("freehold")), home, attached=attached)
    status = await _wait(home, supervisor, progress, lock)
    shown = {name: secrets.read(home.secrets, name) for name in ("api_key", "webui_password") if name in made}
    return Outcome(status, new_api_key=shown.get("api_key"), new_webui_password=shown.get("webui_password"), supervisor=supervisor)


async def _wait(home: Home, supervisor: subprocess.Popen[bytes], progress: Progress, lock: StartLock) -> StackStatus:
    """A start that fails or is interrupted leaves nothing half running."""
    try:
        await run.until_answering(home, supervisor)
        lock.release()
        return await run.until_healthy(home, supervisor, progress)
    except BaseException:
        await end(home, supervisor, progress, lock)
        raise


async def end(home: Home, supervisor: subprocess.Popen[bytes], progress: Progress, lock: StartLock | None = None) -> None:
    """End the stack of a supervisor that we spawned, and what it left behind; never one that another command started since."""
    await run.end(supervisor, progress)
    if not home.start_lock.parent.exists():  # deleted by `freehold reset`
        return
    with lock or StartLock(home.start_lock) as own:
        if own.take() and not home.is_running():
            await run.stop(home, progress)


async def _end_leftovers(home: Home, progress: Progress) -> None:
    if ended := await run.stop(home, progress):
        progress.say(f"ended what an earlier start left behind: {', '.join(ended)}")
