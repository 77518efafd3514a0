"""What `[retention]` asks for, done beside the runs: workers share the work, one piece at a time, with pauses between."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from freehold.config.settings import RetentionSection
from freehold.core.age import parse_age
from freehold.core.errors import StorageUnavailable
from freehold.storage.retention import Piece, Policy, Retention

log = logging.getLogger(__name__)

#: How often a worker looks whether there is something to do.
LOOK_SECONDS = 30.0

#: Between two pieces a worker rests this many times as long as the piece took, so that runs hardly notice.
REST_FACTOR = 4


def policies(asked: RetentionSection) -> Sequence[Policy]:
    """What to prune; nothing where no age is set."""
    checkpoints = [Policy(parse_age(asked.checkpoints))] if asked.checkpoints else []
    threads = [Policy(parse_age(asked.threads), whole_threads=True)] if asked.threads else []
    return [*checkpoints, *threads]


def audit_age(asked: RetentionSection) -> timedelta | None:
    """How old audit entries may become."""
    return parse_age(asked.audit) if asked.audit else None


async def prune_for_ever(retention: Retention, policies: Sequence[Policy]) -> None:
    """Prune what `policies` name, until cancelled."""
    loop = asyncio.get_running_loop()
    pause = LOOK_SECONDS
    while policies:
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spread out, not a secret
        since = loop.time()
        try:
            done = [await retention.prune_shared(policy) for policy in policies]
        except StorageUnavailable:
            continue
        except Exception:
            # The top of a loop that must not end while the worker lives.
            log.exception("pruning failed; it is tried again", extra={"action": "prune_failed"})
            pause = LOOK_SECONDS
            continue
        _tell(done)
        going_on = any(piece and piece.after for piece in done)
        pause = REST_FACTOR * (loop.time() - since) if going_on else LOOK_SECONDS


def _tell(done: Sequence[Piece | None]) -> None:
    for piece in done:
        if piece and any(asdict(piece.removed).values()):
            removed = asdict(piece.removed)
            log.info(
                "removed %d old checkpoints of %d threads",
                removed["checkpoints"],
                removed["threads"],
                extra={"action": "pruned", **removed},
            )
