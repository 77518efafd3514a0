"""The process that owns a running native stack: starts services by need, keeps them, answers questions, ends them in order.

Run as `python -m freehold.targets.native.supervisor HOME`. It imports little, because it lives as long as the stack.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from freehold.config import paths
from freehold.control import server as control
from freehold.control.protocol import Accepted, AskRestart, AskRestartTogether, AskStop, Refused, Reply, Request, StackStatus, socket_path
from freehold.core.errors import Conflict, FreeholdError
from freehold.targets.native import leftovers
from freehold.targets.native.home import Home
from freehold.targets.native.keeper import Keeper
from freehold.targets.native.process import Rendered

log = logging.getLogger("freehold.supervisor")

#: A command that merely looks at the lock holds it for an instant.
_LOCK_TRIES = 20


class Supervisor:
    """One running stack."""

    def __init__(self, home: Home, rendered: Rendered) -> None:
        self.home = home
        self.rendered = rendered
        self.since = time.time()
        self.keepers: dict[str, Keeper] = {}
        for process in rendered.processes:  # each comes after those it needs
            needs = [self.keepers[need] for need in process.needs if need in self.keepers]
            self.keepers[process.name] = Keeper(process, home, needs, self._write_down)
        self._stop = asyncio.Event()
        #: Restarts of several processes that are under way.
        self._starting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until somebody asks for the end: a signal, or `freehold down`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        runtime = paths.make_private(paths.runtime(self.home.path))
        async with control.listening(socket_path(runtime), self._answer):
            for keeper in self.keepers.values():
                keeper.start()
            await self._stop.wait()
            log.info("stopping")
            for starting in self._starting:
                starting.cancel()
            await self._stop_all()
        self.home.processes_file.unlink(missing_ok=True)  # writing an empty list would fail on a full disk
        log.info("all services have ended")

    async def _stop_all(self) -> None:
        """Each one after all that need it."""
        stops: dict[str, asyncio.Task[None]] = {}

        async def stop(keeper: Keeper) -> None:
            await asyncio.gather(*(stops[other.process.name] for other in self.keepers.values() if keeper in other.needs))
            await keeper.stop()

        for keeper in reversed(self.keepers.values()):
            stops[keeper.process.name] = asyncio.create_task(stop(keeper))
        await asyncio.gather(*stops.values())

    async def _answer(self, request: Request) -> Reply:
        if isinstance(request, AskStop):
            self._stop.set()
            return Accepted()
        if isinstance(request, AskRestart):
            return await self._restart(request.service)
        if isinstance(request, AskRestartTogether):
            return await self._restart_together(request.processes)
        return self.status()

    async def _restart(self, service: str) -> Reply:
        chosen = [keeper for keeper in self.keepers.values() if service in (keeper.process.name, keeper.process.service)]
        if not chosen:
            return Refused(f'no service "{service}"; there are {", ".join(self.keepers)}')
        if self._stop.is_set():
            return Refused("the stack is stopping")
        await asyncio.gather(*(keeper.restart() for keeper in chosen))
        return Accepted()

    async def _restart_together(self, names: Sequence[str]) -> Reply:
        if missing := [name for name in names if name not in self.keepers]:
            return Refused(f'no process "{missing[0]}"; there are {", ".join(self.keepers)}')
        if self._stop.is_set():
            return Refused("the stack is stopping")
        for starting in self._starting:  # an earlier one is overtaken
            starting.cancel()
        chosen = [self.keepers[name] for name in names]
        for keeper in reversed(chosen):
            await keeper.stop()
        task = asyncio.create_task(_start_in_order(chosen), name="restart together")
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return Accepted()

    def status(self) -> StackStatus:
        return StackStatus(
            name=self.rendered.name,
            version=self.rendered.version,
            fingerprint=self.rendered.fingerprint,
            pid=os.getpid(),
            since=self.since,
            server_url=self.rendered.server_url,
            stopping=self._stop.is_set(),
            services=tuple(keeper.status() for keeper in self.keepers.values()),
        )

    def _write_down(self) -> None:
        try:
            leftovers.write(self.home.processes_file, [keeper.child for keeper in self.keepers.values() if keeper.child])
        except OSError as error:  # a full disk must not end what runs
            log.error("the list of processes could not be written: %s", error)


async def _start_in_order(keepers: Sequence[Keeper]) -> None:
    for keeper in keepers:
        keeper.start()
        await keeper.ready.wait()


def lock(home: Home) -> int:
    """Take the folder for this process; the lock ends with it, however it ends.

    Raises:
        Conflict: another supervisor holds it.
    """
    handle = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
            continue
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        return handle
    os.close(handle)
    raise Conflict(f"another supervisor runs the stack in {home.path}", hint="`freehold status` shows it")


def main(path: str, *only: str) -> int:
    """Exit code: 0 after an orderly end, 1 where the stack could not be taken over.

    Args:
        only: names of the processes to run, where not all of the stack; e.g. the database alone, for a backup.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    home = Home(Path(path))
    try:
        handle = lock(home)
        ended = leftovers.end(leftovers.read(home.processes_file))
        if ended:
            log.warning("ended what an earlier supervisor left behind: %s", ", ".join(ended))
        rendered = home.rendered()
        if only:
            rendered = replace(rendered, processes=tuple(process for process in rendered.processes if process.name in only))
        asyncio.run(Supervisor(home, rendered).run())
    except (FreeholdError, OSError) as error:
        log.error("%s", error)
        return 1
    os.close(handle)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
