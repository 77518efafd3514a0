"""Goes once through all threads and removes what is old; what the workers do by schedule, at once and with a report."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.core.progress import Progress
from freehold.storage.checkpointer.upkeep import Removed
from freehold.storage.pool import Pool
from freehold.storage.retention import Policy, Retention


@dataclass(frozen=True)
class PruneReport:
    """What one round removed, or would remove.

    `busy_threads` were in use and keep what they have. `checkpoint_bytes`: size of the checkpoint tables afterwards, with the room
    that removed rows leave in them.
    """

    removed: Removed
    busy_threads: int
    checkpoint_bytes: int


async def prune(pool: Pool, policy: Policy, progress: Progress, *, dry_run: bool = False) -> PruneReport:
    """One round over all threads, in short transactions that pass over threads in use.

    Raises:
        StorageUnavailable: the database went away; what was removed before stays removed.
    """
    retention = Retention(pool)
    before = await retention.before(policy)
    removed, busy, after = Removed(), 0, None
    with progress.step("looking through threads", total=await retention.count()) as step:
        while True:
            piece = await retention.prune(policy, before, after, dry_run=dry_run)
            removed += piece.removed
            busy += piece.busy
            step.advance(piece.seen)
            after = piece.after
            if after is None:
                return PruneReport(removed, busy, await retention.size())
