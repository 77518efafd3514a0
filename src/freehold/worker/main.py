"""The worker process: claims runs while it has room, executes them side by side, returns the runs of dead workers.

Correctness rests on Postgres alone: being woken by Valkey only saves the poll interval.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from freehold.core.errors import StorageUnavailable
from freehold.core.run import Run
from freehold.events.log import CANCEL, WAKE
from freehold.telemetry import logs
from freehold.worker.execute import Needs, RunExecution
from freehold.worker.lease import LeaseKeeper

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0

#: Threads of stateless runs are kept this long after their end, for clients that rejoin.
KEEP_TEMPORARY_SECONDS = 600.0


class Worker:
    """Runs until `stop` is called; then drains at step boundaries and gives back what it could not end."""

    def __init__(
        self, needs: Needs, *, database_url: str, concurrency: int, lease_seconds: float, max_attempts: int, drain_seconds: float
    ) -> None:
        self._needs = needs
        self._database_url = database_url
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._drain_seconds = drain_seconds
        self._room = asyncio.Semaphore(concurrency)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._claiming_since = 0
        self._executions: dict[asyncio.Task[None], RunExecution] = {}
        self._on_ready: Callable[[], None] | None = None
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until stopped; raises only where the process itself cannot go on. `on_ready`: called once, after the first look for runs."""
        self._on_ready = on_ready
        with LeaseKeeper(self._database_url, self._lease_seconds, asyncio.get_running_loop()) as leases:
            helpers = [
                asyncio.create_task(self._listen(leases), name="wake"),
                asyncio.create_task(self._reap_for_ever(), name="reap"),
            ]
            log.info("worker %s is ready", self.name, extra={"action": "worker_ready"})
            try:
                await self._claim_for_ever(leases)
                await self._drain()
            finally:
                for task in helpers:
                    task.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)

    def stop(self) -> None:
        """Claim nothing more and finish; called by a signal handler."""
        self._stopping.set()
        self._wake.set()

    async def _claim_for_ever(self, leases: LeaseKeeper) -> None:
        while not self._stopping.is_set():
            await self._room.acquire()
            if self._stopping.is_set():
                return
            self._wake.clear()  # before looking: a wake-up that comes while we look is not lost
            run = await self._claim()
            if run is None:
                self._room.release()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                continue
            self._start(run, leases)

    async def _claim(self) -> Run | None:
        self._claiming_since = time.time_ns()
        try:
            claimed = await self._needs.runs.claim(self.name, self._lease_seconds)
        except StorageUnavailable as error:
            log.warning("cannot claim runs: %s", error.message, extra={"action": "claim_failed"})
            return None
        if self._on_ready:
            self._on_ready()
            self._on_ready = None
        return claimed

    def _start(self, run: Run, leases: LeaseKeeper) -> None:
        execution = RunExecution(run, self._needs)
        execution.observation.claimed(self._claiming_since)
        if run.cancel:  # asked for while nobody held it
            execution.cancel(run.cancel)
        leases.hold(run, on_lost=execution.lose, on_cancel=execution.cancel)
        task = asyncio.create_task(self._execute(execution, leases), name=f"execution-{run.run_id}")
        self._executions[task] = execution
        task.add_done_callback(self._executions.pop)

    async def _execute(self, execution: RunExecution, leases: LeaseKeeper) -> None:
        try:
            with execution.observation:
                await execution.execute()
        except StorageUnavailable as error:
            log.error("run %s is left to the reaper: %s", execution.run.run_id, error.message, extra={"action": "run_abandoned"})
        except Exception as error:  # noqa: BLE001 - the top of a run
            # One that fails in a way nobody foresaw is returned by its lease, and counted as an attempt.
            log.error("run %s failed outside its graph", execution.run.run_id, **logs.failure(error, action="run_crashed"))
        finally:
            leases.drop(execution.run)
            self._room.release()
            self._wake.set()

    async def _drain(self) -> None:
        if not self._executions:
            return
        log.info("draining %d runs", len(self._executions), extra={"action": "drain"})
        for execution in self._executions.values():
            execution.drain()
        _, late = await asyncio.wait(list(self._executions), timeout=self._drain_seconds)
        for task in late:
            if task in self._executions:
                self._executions[task].abandon_step()
        if late:
            await asyncio.wait(late, timeout=5)

    async def _listen(self, leases: LeaseKeeper) -> None:
        async with self._needs.events.messages(WAKE, CANCEL) as messages:
            async for channel, _ in messages:
                if channel == CANCEL:
                    leases.look_now()
                self._wake.set()  # of a cancellation too: a run nobody holds is claimed to be stopped

    async def _reap_for_ever(self) -> None:
        sweep = 0
        while True:
            # Spread out, so that twenty workers do not look in the same moment.
            await asyncio.sleep(self._lease_seconds / 4 * random.uniform(0.75, 1.25))  # noqa: S311 - not a secret
            try:
                returned, given_up = await self._needs.runs.reap(self._max_attempts)
                if sweep % 20 == 0:
                    await self._needs.runs.reap_temporary(KEEP_TEMPORARY_SECONDS)
            except StorageUnavailable:
                continue
            except Exception:
                # The top of a loop that must not end while the worker lives: nobody else may be there to reap.
                log.exception("reaping failed; it is tried again", extra={"action": "reap_failed"})
                continue
            sweep += 1
            if returned or given_up:
                log.warning(
                    "%d runs of silent workers returned to the queue, %d given up",
                    len(returned),
                    len(given_up),
                    extra={"action": "reaped", "runs": [str(run_id) for run_id in (*returned, *given_up)]},
                )
                await self._needs.events.wake_workers()
