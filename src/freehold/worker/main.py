"""The worker process: claims runs while it has room, executes them side by side, returns the runs of dead workers.

Correctness rests on Postgres alone: being woken by Valkey only saves the poll interval.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from uuid import UUID

from freehold.core.errors import StorageUnavailable
from freehold.core.run import Run
from freehold.events.log import CANCEL, WAKE
from freehold.graphs.project_config import ThreadTtlConfig
from freehold.storage.inbox import Inbox
from freehold.storage.retention import Policy, Retention
from freehold.storage.runs import TEMPORARY_AT_ONCE, Claimant, Runs
from freehold.telemetry import logs, metrics
from freehold.worker.accounting import Accounting
from freehold.worker.execute import Needs, RunExecution
from freehold.worker.expiry import expire_questions, sweep_threads
from freehold.worker.lease import LeaseKeeper
from freehold.worker.retention import prune_for_ever
from freehold.worker.schedule import crons_of, fire_for_ever
from freehold.worker.store import sweep_for_ever

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0

#: A claim that was not answered for this long was lost with its connection.
LOST_SECONDS = 5.0

#: A step that is stopped in the middle at the end of a drain has this long to clean up.
ABANDON_SECONDS = 5.0

#: Executions that have handed on their place and wait for Valkey to come back, at most, for each place. Each holds its events.
LINGERING = 2

#: Threads of stateless runs are kept this long after their end, for clients that rejoin.
KEEP_TEMPORARY_SECONDS = 600.0

#: They are removed every so many looks for dead workers; with the next look already, while there are more than go at a time.
TEMPORARY_SWEEP = 20
TEMPORARY_TRANSACTIONS = 4


class Worker:
    """Runs until `stop` is called; then drains at step boundaries and gives back what it could not end."""

    def __init__(
        self,
        needs: Needs,
        *,
        database_url: str,
        concurrency: int,
        lease_seconds: float,
        max_attempts: int,
        drain_seconds: float,
        retention: Sequence[Policy] = (),
        sweep_minutes: float | None = None,
        accounting: Accounting | None = None,
    ) -> None:
        self._needs = needs
        self._database_url = database_url
        self._lease_seconds = lease_seconds
        self._free = concurrency
        self._most_executions = (1 + LINGERING) * concurrency
        self._max_attempts = max_attempts
        self._drain_seconds = drain_seconds
        self._retention = retention
        self._sweep_minutes = sweep_minutes
        self._accounting = accounting
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._executions: dict[asyncio.Task[None], RunExecution] = {}
        self._on_ready: Callable[[], None] | None = None
        self._context = Context()
        #: Runs that failed outside their graphs, and until when (on the loop's clock) their lease may say that this worker holds them.
        self._crashed: dict[UUID, float] = {}
        #: When an answer of the database was lost, on the loop's clock.
        self._answer_lost_at: float | None = None
        #: The token tells it from an earlier process: in a container every one has the same pid.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until stopped; raises only where the process itself cannot go on. `on_ready`: called once, after the first look for runs."""
        self._on_ready = on_ready
        self._context = copy_context()
        with LeaseKeeper(self._database_url, self._lease_seconds, asyncio.get_running_loop()) as leases:
            crons = crons_of(self._needs.pool, self._needs.runs, self._needs.graphs.project)
            helpers = [
                asyncio.create_task(self._listen(leases), name="wake"),
                asyncio.create_task(self._reap_for_ever(), name="reap"),
                asyncio.create_task(prune_for_ever(Retention(self._needs.pool), self._retention), name="retention"),
                asyncio.create_task(sweep_for_ever(self._needs.stores, self._sweep_minutes), name="store-sweep"),
                asyncio.create_task(fire_for_ever(crons, self._needs.events), name="crons"),
                *([asyncio.create_task(sender.send_for_ever(), name="webhooks")] if (sender := self._needs.webhooks) else []),
                asyncio.create_task(sweep_threads(self._needs.pool, _thread_ttl(self._needs)), name="thread-sweep"),
                asyncio.create_task(expire_questions(_inbox(self._needs), self._needs.events), name="question-sweep"),
            ]
            if self._accounting:
                helpers.append(asyncio.create_task(self._accounting.run(), name="accounting"))
            log.info("worker %s is ready", self.name, extra={"action": "worker_ready"})
            slots = self._free
            metrics.WORKER_SLOTS.inc(slots)
            try:
                await self._claim_for_ever(leases)
                await self._drain()
            finally:
                metrics.WORKER_SLOTS.dec(slots)
                for task in helpers:
                    task.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)

    def stop(self) -> None:
        """Claim nothing more and finish; called by a signal handler."""
        self._stopping.set()
        self._wake.set()

    async def _claim_for_ever(self, leases: LeaseKeeper) -> None:
        """A place that becomes free looks for the next run itself (see `_Slot`); this is for places that are free."""
        while not self._stopping.is_set():
            self._wake.clear()  # before looking: a wake-up that comes while we look is not lost
            wanted = (self._free + 1) // 2  # half of the room, so that other workers get a share of what came at once
            since_ns = time.time_ns()
            claimed = await self._claim(wanted) if wanted else ()
            for run in claimed:
                self._start(run, leases, since_ns)
            if claimed and len(claimed) == wanted:
                continue  # there may be more
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)

    async def _claim(self, limit: int) -> Sequence[Run]:
        try:
            claimed = await self._needs.runs.claim_several(self._claimant, limit)
        except StorageUnavailable as error:
            log.warning("cannot claim runs: %s", error.message, extra={"action": "claim_failed"})
            self._answer_lost()
            return ()
        if self._on_ready:
            self._on_ready()
            self._on_ready = None
        return claimed

    @property
    def _claimant(self) -> Claimant:
        return Claimant(self.name, self._lease_seconds)

    def _answer_lost(self) -> None:
        self._answer_lost_at = asyncio.get_running_loop().time()

    def _start(self, run: Run, leases: LeaseKeeper, since_ns: int) -> None:
        """Execute a run in a task of its own; `since_ns`: when the claim that brought it began."""
        slot = _Slot(self, leases)
        execution = RunExecution(run, self._needs, slot)
        execution.observation.claimed(since_ns)
        if run.cancel:  # asked for while nobody held it
            execution.cancel(run.cancel)
        if self._stopping.is_set():  # it was claimed in that moment
            execution.drain()
        leases.hold(run, on_lost=execution.lose, on_cancel=execution.cancel)
        self._free -= 1
        metrics.WORKER_SLOTS_BUSY.inc()
        # In the worker's own context: the run may have been claimed in that of another one, with its ids and spans.
        work = self._execute(execution, slot, leases)
        task = asyncio.create_task(work, name=f"execution-{run.run_id}", context=self._context.copy())
        self._executions[task] = execution
        task.add_done_callback(self._executions.pop)

    async def _execute(self, execution: RunExecution, slot: _Slot, leases: LeaseKeeper) -> None:
        try:
            with execution.observation:
                await execution.execute()
        except StorageUnavailable as error:
            log.error("run %s is left to the reaper: %s", execution.run.run_id, error.message, extra={"action": "run_abandoned"})
        except Exception as error:  # noqa: BLE001 - the top of a run
            # One that fails in a way nobody foresaw is returned by its lease, and counted as an attempt.
            log.error("run %s failed outside its graph", execution.run.run_id, **logs.failure(error, action="run_crashed"))
            self._note_crashed(execution.run.run_id)
        finally:
            leases.drop(execution.run)
            slot.leave()
            if self._accounting:
                await self._accounting.spent(execution.run, execution.observation.tokens)

    def _note_crashed(self, run_id: UUID) -> None:
        now = asyncio.get_running_loop().time()
        self._crashed = {crashed: until for crashed, until in self._crashed.items() if until > now}
        self._crashed[run_id] = now + 2 * self._lease_seconds

    async def _drain(self) -> None:
        if not self._executions:
            return
        log.info("draining %d runs", len(self._executions), extra={"action": "drain"})
        for execution in self._executions.values():
            execution.drain()
        await self._until_idle(self._drain_seconds)
        for execution in self._executions.values():
            execution.abandon_step()
        await self._until_idle(ABANDON_SECONDS)

    async def _until_idle(self, seconds: float) -> None:
        """Wait for all executions, also for one that begins meanwhile because its claim was under way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._executions:
                    await asyncio.wait(list(self._executions))

    async def _listen(self, leases: LeaseKeeper) -> None:
        async with self._needs.events.messages(WAKE, CANCEL) as messages:
            async for channel, _ in messages:
                if channel == CANCEL:
                    leases.look_now()
                self._wake.set()  # of a cancellation too: a run nobody holds is claimed to be stopped

    async def _reap_for_ever(self) -> None:
        sweep, more, was_away = 0, False, False
        while True:
            # Spread out, so that twenty workers do not look in the same moment.
            await asyncio.sleep(self._lease_seconds / 4 * random.uniform(0.75, 1.25))  # noqa: S311 - not a secret
            try:
                asked = time.monotonic()
                await self._needs.runs.ping()
                if was_away or time.monotonic() - asked > self._lease_seconds / 4:
                    # Workers that live renew their leases before anybody looks for dead ones: an outage is no death.
                    await asyncio.sleep(self._lease_seconds / 2)
                was_away = False
                returned, given_up = await self._needs.runs.reap(self._max_attempts)
                returned = [*returned, *await self._give_back_lost()]
                if more or sweep % TEMPORARY_SWEEP == 0:
                    more = await self._remove_temporary()
            except StorageUnavailable:
                was_away = True
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

    async def _remove_temporary(self) -> bool:
        """Threads of stateless runs that ended; whether there may be more. Returning the runs of the dead does not wait for all of them."""
        for _ in range(TEMPORARY_TRANSACTIONS):
            if await self._needs.runs.reap_temporary(KEEP_TEMPORARY_SECONDS) < TEMPORARY_AT_ONCE:
                return False
        return True

    async def _give_back_lost(self) -> Sequence[UUID]:
        """Runs this worker was given by a claim whose answer never came. Nobody executes them, so they need not wait for their lease."""
        lost_at = self._answer_lost_at
        if lost_at is None or asyncio.get_running_loop().time() - lost_at < LOST_SECONDS:
            return ()
        known = [*self._crashed, *(execution.run.run_id for execution in self._executions.values())]
        found = await self._needs.runs.give_back_lost(self.name, known, older_than=LOST_SECONDS)
        if self._answer_lost_at == lost_at:
            self._answer_lost_at = None
        return found


def _thread_ttl(needs: Needs) -> ThreadTtlConfig | None:
    project = needs.graphs.project
    return project.checkpointer.ttl if project and project.checkpointer else None


def _inbox(needs: Needs) -> Inbox:
    return Inbox(needs.pool, Runs(needs.pool))  # without quotas: nobody asks for these runs


class _Slot:
    """The place of one execution."""

    def __init__(self, worker: Worker, leases: LeaseKeeper) -> None:
        self._worker = worker
        self._leases = leases
        self._taken = True
        self._claiming_since_ns = 0

    def claimant(self) -> Claimant | None:
        self._claiming_since_ns = time.time_ns()
        return None if self._worker._stopping.is_set() else self._worker._claimant

    def hand_on(self, following: Run | None) -> None:
        self._free()
        if following:
            self._worker._start(following, self._leases, self._claiming_since_ns)

    def answer_lost(self) -> None:
        self._worker._answer_lost()

    def may_linger(self) -> bool:
        return len(self._worker._executions) <= self._worker._most_executions

    def leave(self) -> None:
        """The execution is over; a place that was not handed on may be filled now."""
        if self._taken:
            self._free()
            self._worker._wake.set()

    def _free(self) -> None:
        self._taken = False
        self._worker._free += 1
        metrics.WORKER_SLOTS_BUSY.dec()
