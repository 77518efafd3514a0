"""Plain-chat turns, one row each: what dashboards and exports read without decoding checkpoints."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from freehold.core.caller import Caller
from freehold.storage.pool import Pool, as_caller

_RECORD: LiteralString = """
INSERT INTO freehold.conversations (organisation, owner, thread_id, run_id, message, response)
SELECT %(organisation)s, %(owner)s, thread_id, %(run_id)s, %(message)s, %(response)s
  FROM freehold.threads
 WHERE thread_id = %(thread_id)s
   AND NOT EXISTS (SELECT FROM freehold.conversations told WHERE told.thread_id = %(thread_id)s AND told.run_id = %(run_id)s)
   FOR KEY SHARE OF threads
"""


class Conversations:
    """All statements on the conversations table."""

    def __init__(self, pool: Pool, *, kept: bool = True) -> None:
        self._pool = pool
        #: False where the project encrypts: who reads these rows has no key.
        self._kept = kept

    async def record(self, caller: Caller, *, thread_id: UUID, run_id: UUID, message: str, response: str) -> None:
        """Keep one turn, once however often it is told; nothing where its thread was deleted meanwhile."""
        if not self._kept:
            return
        arguments = {
            **caller.arguments(),
            "thread_id": thread_id,
            "run_id": run_id,
            "message": message.replace("\0", ""),
            "response": response.replace("\0", ""),
        }
        async with as_caller(self._pool, caller) as conn:
            await conn.execute(_RECORD, arguments)
