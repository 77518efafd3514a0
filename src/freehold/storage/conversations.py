"""Plain-chat turns, one row each: what dashboards and exports read without decoding checkpoints."""

from __future__ import annotations

from uuid import UUID

from freehold.core.caller import Caller
from freehold.storage.pool import Pool, connection


class Conversations:
    """All statements on the conversations table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, caller: Caller, *, thread_id: UUID, run_id: UUID, message: str, response: str) -> None:
        """Keep one turn."""
        async with connection(self._pool) as conn:
            await conn.execute(
                "INSERT INTO freehold.conversations (organisation, owner, thread_id, run_id, message, response)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                (caller.organisation, caller.owner, thread_id, run_id, message.replace("\0", ""), response.replace("\0", "")),
            )
