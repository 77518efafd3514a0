"""Removes expired items of the store, beside the runs. They are not shown from the moment they expire: this only makes room."""

from __future__ import annotations

import asyncio
import logging
import random

from freehold.core.errors import StorageUnavailable
from freehold.storage.store import SWEEP_AT_ONCE, Stores

log = logging.getLogger(__name__)

#: Between two sweeps, where langgraph.json says nothing (`store.ttl.sweep_interval_minutes`).
SWEEP_MINUTES = 5.0


async def sweep_for_ever(stores: Stores, minutes: float | None) -> None:
    """Sweep every so many minutes, until cancelled."""
    while True:
        await asyncio.sleep(60 * (minutes or SWEEP_MINUTES) * random.uniform(0.5, 1.0))  # noqa: S311 - spread out, not a secret
        try:
            removed = await _sweep(stores)
        except StorageUnavailable:
            continue
        except Exception:
            # The top of a loop that must not end while the worker lives.
            log.exception("sweeping the store failed; it is tried again", extra={"action": "store_sweep_failed"})
            continue
        if removed:
            log.info("removed %d expired items of the store", removed, extra={"action": "store_swept", "items": removed})


async def _sweep(stores: Stores) -> int:
    total = 0
    while True:
        removed = await stores.sweep()
        total += removed
        if removed < SWEEP_AT_ONCE:
            return total
