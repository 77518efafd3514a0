"""Reads a run's events as they are in Valkey, one run at a time; servers read many at once (`events/reader.py`)."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from freehold.core.event import Event, EventId
from freehold.events.log import Ask, EventLog


async def read(log: EventLog, run_id: UUID, after: EventId, *, block_ms: int) -> list[Event]:
    """Events after an id, oldest first; waits up to `block_ms` milliseconds for the first one."""
    until = time.monotonic() + block_ms / 1000
    while True:
        (found,) = await log.read_many([Ask(run_id, after, 512)])
        if found or time.monotonic() >= until:
            return found
        await asyncio.sleep(0.005)
