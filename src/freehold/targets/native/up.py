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
from freehold.core.errors import FreeholdError
from freehold.core.progress import Progress
from freehold.stack.plan import Stack, given_secrets, plan
from freehold.targets.native import arrange, machine, ports, run, secrets
from freehold.targets.native.home import Home
from freehold.targets.native.model import Prepared
from freehold.targets.native.render import render


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
    if home.is_running():
        now = await run.until_healthy(home, None, progress)
        return Outcome(now, was_running=True, needs_restart=now.fingerprint != stack.fingerprint)
    await _end_leftovers(home, progress)
    ports.check(port for service in stack.services for port in service.ports)
    arrange.check_space(home.path)
    prepared = await prepare(stack)
    made = secrets.ensure(home.secrets, stack.secrets, given_secrets(loaded.settings))
    layout = await asyncio.to_thread(
        lambda: arrange.layout(stack, home, project=Path.cwd(), config=loaded.file, model=prepared.path, engine=prepared.argv)
    )
    supervisor = run.start(render(stack, layout, version=version("freehold")), home, attached=attached)
    status = await _wait(home, supervisor, progress)
    return Outcome(status, new_api_key=secrets.read(home.secrets, "api_key") if "api_key" in made else None)


async def _wait(home: Home, supervisor: subprocess.Popen[bytes], progress: Progress) -> StackStatus:
    """A start that fails or is interrupted leaves nothing half running."""
    try:
        return await run.until_healthy(home, supervisor, progress)
    except (FreeholdError, asyncio.CancelledError):
        await run.stop(home, progress)
        raise


async def _end_leftovers(home: Home, progress: Progress) -> None:
    if ended := await run.stop(home, progress):
        progress.say(f"ended what an earlier start left behind: {', '.join(ended)}")
