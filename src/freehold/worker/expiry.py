"""What has a time to live is swept beside the runs: threads, and questions that nobody answered in time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from freehold.core.errors import StorageUnavailable

log = logging.getLogger(__name__)


async def sweep_for_ever(name: str, sweep: Callable[[], Awaitable[int]], *, seconds: float, limit: int) -> None:
    """Call `sweep` every so many seconds, and again at once while it takes as many as it may; until cancelled.

    Args:
        sweep: takes at most `limit` things whose time is over and tells how many it took.
    """
    while True:
        await asyncio.sleep(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - spread out, not a secret
        try:
            taken = total = await sweep()
            while taken >= limit:
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
