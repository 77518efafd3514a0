"""Where runs stand, asked once for all who wonder at the same moment: a thousand silent streams are one query, not a thousand.

silent stream ──┐
silent stream ──┼── of(run_id) ── gathered for GATHER_SECONDS ── one query ── RunProgress for each
silent stream ──┘
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from freehold.storage.runs import RunProgress, Runs

#: A silent client notices none of this.
GATHER_SECONDS = 0.05


class Standing:
    """Asks Postgres for those who wait for runs. One per server process."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._wanted: set[UUID] = set()
        self._asking: asyncio.Task[dict[UUID, RunProgress]] | None = None

    async def of(self, run_id: UUID) -> RunProgress | None:
        """Where a run stands; None once it is gone. Raises StorageUnavailable."""
        self._wanted.add(run_id)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="standing")
            self._asking.add_done_callback(_heard)
        return (await asyncio.shield(self._asking)).get(run_id)  # one that leaves does not take it from the others

    async def _ask(self) -> dict[UUID, RunProgress]:
        await asyncio.sleep(GATHER_SECONDS)
        wanted, self._wanted, self._asking = self._wanted, set(), None
        return await self._runs.progress_of(wanted)


def _heard(asking: asyncio.Task[dict[UUID, RunProgress]]) -> None:
    """Those who asked may all have left; then nobody is told of a failure, and that is right."""
    if not asking.cancelled():
        asking.exception()
