"""What has a time to live is swept beside the runs: threads, and questions that nobody answered in time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from freehold.core.errors import StorageUnavailable
from freehold.events.log import EventLog
from freehold.graphs.project_config import ThreadTtlConfig
from freehold.storage.expiry import Expiry
from freehold.storage.inbox import EXPIRED_AT_ONCE, Inbox
from freehold.storage.pool import Pool

log = logging.getLogger(__name__)

#: How often a worker looks for questions whose time is over, and for threads where langgraph.json does not say it.
LOOK_SECONDS = 15.0
THREADS_SECONDS = 60.0

#: Threads that are taken in one transaction.
BATCH = 100


async def sweep_threads(pool: Pool, ttl: ThreadTtlConfig | None) -> None:
    """Take threads whose time to live is over, until cancelled."""
    expiry = Expiry(pool)
    limit = min(BATCH, ttl.sweep_limit) if ttl else BATCH

    async def sweep() -> int:
        return (await expiry.sweep(limit)).threads

    seconds = ttl.sweep_interval_minutes * 60 if ttl else THREADS_SECONDS
    await sweep_for_ever("threads", sweep, seconds=seconds, limit=limit, most=ttl.sweep_limit if ttl else None)


async def expire_questions(inbox: Inbox, events: EventLog, *, seconds: float = LOOK_SECONDS) -> None:
    """See to questions that nobody answered in time, until cancelled."""

    async def sweep() -> int:
        if found := await inbox.expire():
            await events.wake_workers()
        return found

    await sweep_for_ever("questions", sweep, seconds=seconds, limit=EXPIRED_AT_ONCE)


async def sweep_for_ever(name: str, sweep: Callable[[], Awaitable[int]], *, seconds: float, limit: int, most: int | None = None) -> None:
    """Call `sweep` every so many seconds, and again at once while it takes as many as it may; until cancelled.

    Args:
        sweep: takes at most `limit` things whose time is over and tells how many it took.
        most: no more than about so many at once; the others wait for the next time.
    """
    while True:
        await asyncio.sleep(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - spread out, not a secret
        try:
            taken = total = await sweep()
            while taken >= limit and (most is None or total < most):
                await asyncio.sleep(0)
                total += (taken := await sweep())
        except StorageUnavailable:
            continue
        except Exception:
            # The top of a loop that must not end while the worker lives.
            log.exception("sweeping %s failed; it is tried again", name, extra={"action": "sweep_failed"})
            continue
        if total:
            log.info("swept %d %s", total, name, extra={"action": "swept", "what": name, "count": total})
