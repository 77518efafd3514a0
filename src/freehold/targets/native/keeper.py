"""Keeps one process of the stack running: waits for what it needs, prepares, starts, watches, restarts with a pause, ends.

waiting → preparing → starting → healthy ⇄ unhealthy
              ↑           ↓  (ended by itself)
              └─── restarting ───→ failed   (it never became healthy, three times in a row)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from freehold.config import env
from freehold.control.protocol import GOOD, ServiceStatus, State
from freehold.core import child
from freehold.core.errors import FreeholdError
from freehold.targets.native import files, health, logs, secrets
from freehold.targets.native.home import Home
from freehold.targets.native.leftovers import Child
from freehold.targets.native.process import Once, Process

log = logging.getLogger(__name__)

#: Starts in a row that may fail before the service counts as failed.
START_ATTEMPTS = 3
#: Pause before the first restart; doubled each time up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A process that was well for this long starts its pauses from the beginning.
SETTLED_SECONDS = 60.0
#: How often a starting process is asked whether it is well.
STARTING_INTERVAL = 0.1
#: A process without a question to ask counts as well once it has lived this long; loading Python code that fails takes less.
ALIVE_SECONDS = 4.0


@dataclass(frozen=True)
class Ending:
    """How a process ended."""

    code: int
    said: str | None
    #: Set where we ended it because it did not become healthy in time.
    late: str | None = None

    def __str__(self) -> str:
        if self.late:
            return f"was not ready in time: {self.late}"
        how = f"was ended by {_signal_name(-self.code)}" if self.code < 0 else f"ended with exit code {self.code}"
        return f"{how}: {self.said}" if self.said else how


class Keeper:
    """The state machine of one process. Everything happens in tasks of the supervisor's loop; there are no threads."""

    def __init__(self, process: Process, home: Home, needs: Sequence[Keeper], on_start: Callable[[], None] = lambda: None) -> None:
        self.process = process
        self.home = home
        self.needs = needs
        self.state: State = "waiting"
        self.why: str | None = None
        self.restarts = 0
        self.ended: str | None = None
        self.since: float | None = None
        #: What runs now, for the list of leftovers.
        self.child: Child | None = None
        self.ready = asyncio.Event()
        self._on_start = on_start
        self._running: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._restart_asked = False
        self._log_start = 0
        self._late: str | None = None

    # -- asked from outside ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"keep {self.process.name}")

    async def stop(self) -> None:
        """End the process in an orderly way, by force after its grace time; returns when it is gone."""
        self._stopping = True
        self.ready.clear()
        if self._running:
            self._become("stopping")
            await self._end(self._running)
        elif self._task:
            self._task.cancel()
        if self._task:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.state not in ("done", "failed"):
            self._become("stopped")

    async def restart(self) -> None:
        """End it and start it again at once; also a way out of `failed`."""
        self._restart_asked = True
        if self._running:
            await self._end(self._running)
        else:
            await self.stop()
            self._restart_asked = False
            self.start()

    def status(self) -> ServiceStatus:
        process = self.process
        return ServiceStatus(
            name=process.name,
            about=process.about,
            kind=process.kind,
            state=self.state,
            why=self.why,
            pid=self._running.pid if self._running else None,
            since=self.since,
            restarts=self.restarts,
            ended=self.ended,
            memory_bytes=_memory(self._running.pid) if self._running else None,
            ports=tuple(port.number for port in process.ports),
            log=str(self.log_file),
        )

    @property
    def log_file(self) -> Path:
        return self.home.log(self.process.name)

    # -- the life of a process ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._wait_for_needs()
            self._become("preparing")
            await self._prepare()
            await self._live()
        except (FreeholdError, OSError) as error:
            if self._stopping:  # its preparation was ended on purpose
                return
            self._become("failed", str(error))
            log.error("%s: %s", self.process.name, error)
        except Exception as error:  # top of a service's life: the others go on, and a stop stays possible
            self._become("failed", f"{type(error).__name__}: {error}")
            log.error("%s", self.process.name, exc_info=True)

    async def _wait_for_needs(self) -> None:
        for need in self.needs:
            if not need.ready.is_set():
                self._become("waiting", f"needs {need.process.name}")
                await need.ready.wait()

    async def _prepare(self) -> None:
        _write_files(self.process, self.home.secrets)
        if self.process.once and not _exists(self.process.once.produces):
            await self._prepare_once(self.process.once)

    async def _prepare_once(self, once: Once) -> None:
        await asyncio.to_thread(shutil.rmtree, once.builds, ignore_errors=True)
        self._running = running = await self._spawn(once.argv)
        try:
            code = await running.wait()
        finally:
            self._running = self.child = None
        if code != 0:
            raise FreeholdError(str(self._ending(code)))
        os.rename(once.builds, once.produces)  # noqa: PTH104 - one atomic step of the kernel

    async def _live(self) -> None:
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            ending, was_well = await self._one_life()
            if self._is_ending():
                return
            if self.process.kind == "task" and ending.code == 0:
                self._become("done")
                self.ready.set()
                return
            if self._restart_asked:
                self._restart_asked, failures = False, 0
                continue
            failures = 1 if was_well and time.monotonic() - started > SETTLED_SECONDS else failures + 1
            self.ended = str(ending)
            log.error("%s %s", self.process.name, ending)
            if not self.ready.is_set() and failures >= START_ATTEMPTS:
                self._become("failed", str(ending))
                return
            self.restarts += 1
            self._become("restarting", str(ending))
            await asyncio.sleep(_pause(failures))

    def _is_ending(self) -> bool:
        """Asked anew after each wait."""
        return self._stopping

    async def _one_life(self) -> tuple[Ending, bool]:
        """Start the process and stay with it to its end; also says whether it ever was healthy."""
        self._become("starting")
        self._late = None
        _write_files(self.process, self.home.secrets)  # a secret in them may be another one since the life before
        logs.rotate_if_large(self.log_file)
        if self.process.health:
            health.forget(self.process.health)
        self._running = running = await self._spawn(self.process.argv)
        self.since = time.time()
        watch = asyncio.create_task(self._watch(running))
        try:
            code = await running.wait()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)  # it said itself what was wrong
            self._running = self.child = None
            _kill_group(running.pid)
        return self._ending(code, self._late), self.state in ("healthy", "unhealthy")

    async def _watch(self, running: asyncio.subprocess.Process) -> None:
        """Stay with it until it ends. One that cannot be watched is ended: nobody would see it hang."""
        try:
            await self._keep_asking(running)
        except Exception as error:
            log.error("%s cannot be watched", self.process.name, exc_info=True)
            self._late = f"it cannot be watched: {error}"
            await self._end(running)

    async def _keep_asking(self, running: asyncio.subprocess.Process) -> None:
        """Ask how it is until it ends; a start that takes too long is ended here."""
        if self.process.kind == "task" or self.process.health is None:
            return
        if late := await self._until_healthy(self.process.health.start_seconds):
            self._late = late
            await self._end(running)
            return
        failed = 0
        while True:
            await asyncio.sleep(self.process.health.interval_seconds)
            self._rotate()
            complaint = await health.ask(self.process.health)
            failed = failed + 1 if complaint else 0
            if self._stopping:
                return
            if failed >= self.process.health.failures:
                self._become("unhealthy", complaint)
            elif not complaint:
                self._become("healthy")

    async def _until_healthy(self, patience_seconds: float) -> str | None:
        assert self.process.health is not None
        if self.process.health.probe == "alive":
            await asyncio.sleep(ALIVE_SECONDS)
        deadline = time.monotonic() + patience_seconds
        while complaint := await health.ask(self.process.health):
            if self.state == "starting":
                self.why = complaint
            if time.monotonic() > deadline:
                return f"{complaint}, after {patience_seconds:.0f} s"
            await asyncio.sleep(STARTING_INTERVAL)
        if not self._stopping:
            self._become("healthy")
            self.ready.set()
        return None

    # -- processes ---------------------------------------------------------------------------------------------

    async def _spawn(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        process = self.process
        handle = logs.open_for_append(self.log_file)
        self._log_start = os.fstat(handle).st_size
        user = f"{process.user.uid}:{process.user.gid}" if process.user else "-"
        number = signal.Signals[process.stop_signal]
        pinned = [f"--cpus={','.join(map(str, process.cpus))}"] if process.cpus else []
        try:
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(child.__file__), str(os.getpid()), str(int(number)), user, process.cwd),
                *(*pinned, "--", *argv),
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
            )
        finally:
            os.close(handle)
        self.child = Child.of(process.name, running.pid, process.stop_signal, process.grace_seconds)
        self._on_start()
        return running

    def _environment(self) -> Mapping[str, str]:
        own = secrets.resolve(self.home.secrets, self.process.env)
        if self.process.user:
            own["HOME"] = "/"
        return env.inherited(own) if self.process.environment == "user" else env.minimal(own)

    async def _end(self, running: asyncio.subprocess.Process) -> None:
        family = _family(running.pid)
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(signal.Signals[self.process.stop_signal])
        try:
            async with asyncio.timeout(self.process.grace_seconds):
                await running.wait()
        except TimeoutError:
            log.warning("%s did not end within %.0f s and is killed", self.process.name, self.process.grace_seconds)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            with contextlib.suppress(ProcessLookupError):
                running.kill()
            await running.wait()

    def _rotate(self) -> None:
        try:
            logs.rotate_if_large(self.log_file)
        except OSError as error:  # a full disk must not end what runs
            log.error("the log of %s could not be rotated: %s", self.process.name, error)

    def _ending(self, code: int, late: str | None = None) -> Ending:
        return Ending(code, logs.last_line(self.log_file, since=self._log_start), late)

    def _become(self, state: State, why: str | None = None) -> None:
        if state != self.state or why != self.why:
            level = logging.WARNING if state in ("restarting", "unhealthy", "failed") else logging.INFO
            log.log(level, "%s is %s%s", self.process.name, state, f": {why}" if why else "")
        self.state, self.why = state, why
        if state in GOOD:
            self.why = None


def _pause(failures: int) -> float:
    """Seconds before the next start. The exponent is bounded: a service may fail for weeks, and a float holds 2**1023 at most."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_group(pid: int) -> None:
    """What a dead leader of a session left behind in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _memory(pid: int) -> int | None:
    """Resident bytes of a process, and of its children what they do not share."""
    try:
        total = int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            info = process.memory_info()
            total += max(0, info.rss - getattr(info, "shared", 0))
    return total


def _write_files(process: Process, folder_of_secrets: Path) -> None:
    for folder in process.folders:
        files.make_folder(Path(folder), process.user)
    texts = secrets.resolve(folder_of_secrets, {file.path: file.text for file in process.files})
    for path, text in texts.items():
        files.write_private(Path(path), text, process.user)


def _exists(path: str) -> bool:
    return Path(path).exists()
