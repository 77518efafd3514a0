"""Makes up for announcements that were lost: asks Postgres, for all threads somebody watches, whether there is something on them."""

from __future__ import annotations

import asyncio
import logging

from freehold.core.errors import StorageUnavailable
from freehold.events.reader import EventReader
from freehold.storage.thread_runs import ThreadRuns

log = logging.getLogger(__name__)

#: How late a run is streamed at most whose announcement was lost, or that nobody announced.
LOOK_SECONDS = 3.0


async def ring_for_ever(reader: EventReader, thread_runs: ThreadRuns) -> None:
    """One query for all, until cancelled; none while nobody watches."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not reader.threads:
            continue
        try:
            for thread_id in await thread_runs.with_news(list(reader.threads), seconds=3 * LOOK_SECONDS):
                reader.ring(thread_id)
        except StorageUnavailable:
            continue
        except Exception:
            # The top of a loop that must not end while the process lives.
            log.exception("looking for runs of watched threads failed; it is tried again", extra={"action": "thread_look_failed"})
