"""Brings a native stack to another version, and back by itself where that one is not well.

    prepare   a copy of the environment gets the new version, and must start and know the settings; nothing has changed yet
    stop      workers give their runs back, all ends: from here on nothing is accepted that could be lost
    save      the databases into a file, with only the stores running
    switch    the copy takes the place of the environment
    start     the new version migrates and starts
    check     everything is well, and the agent answers

What goes wrong before `switch` ends with the old stack as it was. Afterwards: end → return (the environment) → restore (the databases;
those of the new version are kept under another name) → restart. Each step is written into a journal before it is done and can be
done again, so an upgrade that was killed goes on from there. The code that does all this is always that of the old version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from freehold.config.load import Loaded
from freehold.core.errors import Conflict, FreeholdError, Incompatible, InvalidRequest, NotConfigured, Unhealthy
from freehold.core.ids import new_id
from freehold.core.progress import Progress
from freehold.operate import backup
from freehold.operate.backup import native as databases
from freehold.operate.upgrade import environment, journal, running, unit
from freehold.operate.upgrade.journal import HARMLESS, Journal, Step
from freehold.targets.native import run
from freehold.targets.native.home import Home


@dataclass(frozen=True)
class Outcome:
    """How an upgrade ended."""

    old: str
    new: str
    backup: str
    #: What went wrong, where the old version is back; None: the new one runs.
    why: str | None = None
    #: What is left for a person to do.
    todo: str | None = None


async def upgrade(loaded: Loaded, home: Home, progress: Progress, *, to: str | None, ask: bool = True) -> Outcome:
    """Bring the stack of this folder to another version; first finish what an earlier upgrade left.

    Args:
        to: a version or the path of a wheel; None: the one that is installed already, since some tool put it there.
        ask: whether the agent has to answer a question.

    Raises:
        InvalidRequest: there is nothing to do, or it would be a step back.
        Conflict: another upgrade is under way.
        FreeholdError: the new version cannot be installed or does not fit; nothing was changed.
    """
    home.require_ours()
    with journal.lock(home) as own:
        if not own.take():
            raise Conflict("another upgrade of this stack is under way")
        begun = journal.read(home)
        if begun is None:
            begun = await _begin(loaded, home, to)
        elif begun.step in HARMLESS:
            progress.say(
                f"an earlier upgrade to {begun.new or 'another version'} was interrupted before anything changed; the old stack returns"
            )
            begun = replace(begun, step="restart", why="it was interrupted")
        elif begun.step == "check":  # what ran may have ended since
            begun = replace(begun, step="start")
        return await _Upgrade(loaded, home, progress, ask).go_on(begun)


async def _begin(loaded: Loaded, home: Home, to: str | None) -> Journal:
    last, own = running.last_version(home), version("freehold")
    if to is None and last == own:
        raise InvalidRequest(f"this stack runs Freehold {own}, which is what is installed", hint="--to names another version, or a wheel")
    place = None
    if to is not None:
        if command := environment.advice(to):
            raise NotConfigured("the environment of this Freehold is kept by another tool", hint=f"{command}, then `freehold upgrade`")
        place = sys.prefix
    elif environment.release(own) < environment.release(last):
        raise Incompatible(f"Freehold {own} is older than {last}, which made this stack's data", hint=f"install Freehold {last} or newer")
    identity = str(new_id())
    begun = Journal(
        id=identity,
        old=last if to is None else own,
        new="" if to else own,
        step="prepare",
        project=str(Path.cwd()),
        config=str(loaded.file.absolute()) if loaded.file else None,
        was_running=home.is_running(),
        backup=str(home.backups / f"before-upgrade-{datetime.now().astimezone():%Y%m%d-%H%M%S}.backup"),
        environment=place,
        unit=unit.of(supervisor) if (supervisor := running.supervisor(home)) else None,
        requirement=_requirement(to) if to else None,
    )
    journal.write(home, begun)
    return begun


def _requirement(to: str) -> str:
    if not to.endswith(".whl"):
        return f"freehold=={to}"
    if not Path(to).is_file():
        raise InvalidRequest(f"there is no wheel {to}")
    return str(Path(to).absolute())


class _Upgrade:
    """The steps of one upgrade; each may be done twice."""

    def __init__(self, loaded: Loaded, home: Home, progress: Progress, ask: bool) -> None:
        self._loaded = loaded
        self._home = home
        self._progress = progress
        self._ask = ask
        self._after: Mapping[Step, tuple[Callable[[Journal], Awaitable[Journal]], Step | None]] = {
            "prepare": (self._prepare, "stop"),
            "stop": (self._stop, "save"),
            "save": (self._save, "switch"),
            "switch": (self._switch, "start"),
            "start": (self._start, "check"),
            "check": (self._check, None),
            "end": (self._stop, "return"),
            "return": (self._return, "restore"),
            "restore": (self._restore, "restart"),
            "restart": (self._restart, None),
        }

    async def go_on(self, begun: Journal) -> Outcome:
        """From the step that is written down to the end, forward or back."""
        now = begun
        while True:
            now = replace(now, changed=now.changed or now.step not in (*HARMLESS, "restart"))
            journal.write(self._home, now)
            self._be_old(now)
            do, following = self._after[now.step]
            try:
                now = await do(now)
            except (FreeholdError, OSError) as error:
                if now.step == "prepare":  # the stack never noticed
                    self._forget(now)
                    raise
                now = self._turn_back(now, error)
                continue
            if following is None:
                return self._close(now)
            now = replace(now, step=following)

    def _be_old(self, now: Journal) -> None:
        """Go on as the old version's program, wherever it lies now: modules that are loaded from here on are its own."""
        if not now.environment:
            return
        where = environment.old(Path(now.environment), now.id)
        if Path(sys.prefix) != where:
            self._progress.say(f"going on with the Freehold in {where}")
            sys.stderr.flush()
            os.execv(where / "bin" / "python", [*environment.command_in(where), *sys.argv[1:]])  # noqa: S606 - our own program

    def _turn_back(self, now: Journal, error: FreeholdError | OSError) -> Journal:
        if now.why is not None:  # on the way back already
            raise Unhealthy(
                f"the upgrade to {now.new} went wrong ({now.why}), and so did step {now.step!r} of the way back: {error}",
                hint=f"mend that, then `freehold upgrade` goes on; the databases are in {now.backup}",
            ) from error
        why = error.message if isinstance(error, FreeholdError) else str(error)
        self._progress.say(f"not well: {why}; going back to {now.old}")
        return replace(now, why=why, step="restart" if now.step in HARMLESS else "end")

    # -- forward -----------------------------------------------------------------------------------------------

    async def _prepare(self, now: Journal) -> Journal:
        if not now.environment or not now.requirement:
            return now
        with self._progress.step(f"installing {now.requirement} beside {now.environment}"):
            new = await environment.prepare(Path(now.environment), now.requirement, now.id)
        if environment.release(new) < environment.release(now.old):
            raise Incompatible(f"{new} is older than {now.old}", hint="`freehold restore` brings back data of an older version")
        if new == now.old:
            raise InvalidRequest(f"Freehold {new} is what runs already")
        await running.require_fitting(environment.beside(Path(now.environment)), now)
        return replace(now, new=new)

    async def _stop(self, now: Journal) -> Journal:
        if now.unit:
            await unit.tell(now.unit, "stop")
        await run.stop(self._home, self._progress)
        return now

    async def _save(self, now: Journal) -> Journal:
        self._home.backups.mkdir(mode=0o700, exist_ok=True)
        path = Path(now.backup)
        backup.remove(path)
        server = databases.server(self._loaded, self._home)
        async with databases.stores(self._home, self._progress):
            await backup.backup(server, path, self._progress)
        running.keep_stack(self._home)
        return now

    async def _switch(self, now: Journal) -> Journal:
        if now.environment:
            environment.switch(Path(now.environment), now.id)
        return now

    async def _start(self, now: Journal) -> Journal:
        await running.start(self._home, now, self._progress)
        return now

    async def _check(self, now: Journal) -> Journal:
        await running.require_well(now)
        if self._ask and self._loaded.settings.model.engine != "none":
            await running.require_answer(now, self._progress)
        return now

    # -- back --------------------------------------------------------------------------------------------------

    async def _return(self, now: Journal) -> Journal:
        if now.environment:
            environment.switch_back(Path(now.environment), now.id)
        return now

    async def _restore(self, now: Journal) -> Journal:
        running.put_back_stack(self._home)  # the new version wrote its own over it
        server = databases.server(self._loaded, self._home)
        async with databases.stores(self._home, self._progress):
            await backup.restore(server, Path(now.backup), self._progress, keep=f"of_{now.id.replace('-', '')[:12]}")
            await databases.forget_streams(self._home)
        return now

    async def _restart(self, now: Journal) -> Journal:
        """Only the old version may start now; where somebody else's tool replaced it, that has to be brought back first."""
        if now.was_running and now.environment:
            await running.start(self._home, now, self._progress)
        return now

    def _forget(self, now: Journal) -> None:
        if now.environment:
            environment.forget(Path(now.environment), but=now.id)
        journal.close(self._home, now, "not begun")

    def _close(self, now: Journal) -> Outcome:
        if now.why and now.environment:
            environment.forget(Path(now.environment), but=now.id)
        elif now.environment:
            environment.settle(Path(now.environment))
        journal.close(self._home, now, "taken back" if now.why else "done")
        todo = None
        if now.why and not now.environment:
            todo = f"`pip install freehold=={now.old}`, then `freehold up`" if now.changed else "mend that, then `freehold upgrade` again"
        return Outcome(now.old, now.new, now.backup, now.why, todo)
