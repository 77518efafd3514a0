"""Fires crons: one of a worker's helpers. Every worker looks; which of them fires a cron is decided by Postgres (storage/crons.py)."""

from __future__ import annotations

import asyncio
import logging
import random

from freehold.core.errors import StorageUnavailable
from freehold.events.log import EventLog
from freehold.graphs.project import Project
from freehold.storage.crons import Crons, Firing
from freehold.storage.lifetime import TimeToLive
from freehold.storage.pool import Pool
from freehold.storage.runs import Runs
from freehold.telemetry.metrics import CRON_FIRINGS

log = logging.getLogger(__name__)

#: A cron that was made or changed meanwhile is late by this much at most; one look costs a walk into a small index.
LOOK_SECONDS = 3.0

#: Where another worker is at the crons that are due.
BUSY_SECONDS = 0.1


def crons_of(pool: Pool, runs: Runs, project: Project | None) -> Crons:
    """The crons to fire; threads they make live as long as the project says."""
    ttl = project.checkpointer.ttl if project and project.checkpointer else None
    return Crons(pool, runs, lifetime=TimeToLive(ttl.default_ttl, ttl.strategy) if ttl and ttl.default_ttl else None)


async def fire_for_ever(crons: Crons, events: EventLog) -> None:
    """Fire what is due, then sleep until the next cron is, or until it is time to look again."""
    while True:
        try:
            pause = await _fire_due(crons, events)
        except StorageUnavailable:
            pause = LOOK_SECONDS
        except Exception:
            # The top of a loop that must not end while the worker lives: nobody else may be there to fire.
            log.exception("firing crons failed; it is tried again", extra={"action": "cron_failed"})
            pause = LOOK_SECONDS
        await asyncio.sleep(pause)


async def _fire_due(crons: Crons, events: EventLog) -> float:
    """One look; seconds until the next. Where nothing is due it costs one statement."""
    seconds = await crons.seconds_to_next()
    if seconds is None or seconds > 0:
        # Spread out, so that twenty workers do not look in the same moment.
        look = LOOK_SECONDS * random.uniform(0.6, 1)  # noqa: S311 - not a secret
        return look if seconds is None else min(look, seconds)
    fired = False
    while (firing := await crons.fire_next()) is not None:
        await _tell(firing, events)
        fired = True
    return 0 if fired else BUSY_SECONDS


async def _tell(firing: Firing, events: EventLog) -> None:
    """After the firing is stored: workers and those who are to stop learn of it; losing this costs a poll interval."""
    told = {"cron": str(firing.cron.cron_id)}
    if firing.accepted is None:
        outcome = "skipped" if firing.cron.enabled else "disabled"
        log.warning("cron %s started no run: %s", firing.cron.cron_id, firing.error, extra={"action": f"cron_{outcome}", **told})
        CRON_FIRINGS.labels(outcome).inc()
        return
    CRON_FIRINGS.labels("fired").inc()
    run_id = firing.accepted.run.run_id
    log.info("cron %s started run %s", firing.cron.cron_id, run_id, extra={"action": "cron_fired", "run_id": str(run_id), **told})
    for stopped in firing.accepted.stopped:
        await events.announce_cancel(stopped)
    await events.wake_workers()
