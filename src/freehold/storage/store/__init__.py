"""The long-term store: items by namespace and key, with a time to live, found by filter and by meaning. Each caller has their own."""

from __future__ import annotations

from langgraph.store.base import TTLConfig

from freehold.core.caller import Caller
from freehold.storage.pool import Pool, connection
from freehold.storage.store.caller_store import SQL, CallerStore
from freehold.storage.store.semantic import Semantic

__all__ = ["CallerStore", "Semantic", "Stores"]

#: Expired items removed in one transaction.
SWEEP_AT_ONCE = 1000


class Stores:
    """Every caller's store, one per process."""

    def __init__(
        self, pool: Pool, *, ttl: TTLConfig | None = None, semantic: Semantic | None = None, sweep_minutes: float | None = None
    ) -> None:
        self._pool = pool
        self._ttl = ttl or TTLConfig(refresh_on_read=True)
        self._semantic = semantic
        #: How often expired items are to be removed; None: nobody said.
        self.sweep_minutes = sweep_minutes

    def of(self, caller: Caller) -> CallerStore:
        """The store of one caller; to be called on the event loop that will serve it."""
        return CallerStore(self._pool, caller, ttl=self._ttl, semantic=self._semantic)

    async def sweep(self) -> int:
        """Remove items that have expired, of everybody; how many there were. More may be left when it is `SWEEP_AT_ONCE`."""
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["sweep"], {"limit": SWEEP_AT_ONCE})).rowcount
