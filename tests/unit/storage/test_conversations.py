"""Turns of plain chat as rows."""

from __future__ import annotations

from uuid import uuid4

from freehold.core.caller import Caller
from freehold.storage.conversations import Conversations
from freehold.storage.pool import create_pool
from freehold.storage.threads import Threads

ANNA = Caller("acme", "anna")


async def test_a_turn_is_kept_once_and_not_at_all_where_its_thread_is_gone(database_url: str) -> None:
    async with create_pool(database_url, max_size=2) as pool:
        thread, run = (await Threads(pool).create(ANNA)).thread_id, uuid4()
        for _ in range(2):
            await Conversations(pool).record(ANNA, thread_id=thread, run_id=run, message="a\0sk", response="answer\0")
        await Conversations(pool).record(ANNA, thread_id=uuid4(), run_id=uuid4(), message="ask", response="answer")
        async with pool.connection() as conn:
            rows = await (await conn.execute("SELECT owner, thread_id, run_id, message, response FROM freehold.conversations")).fetchall()
    assert rows == [{"owner": "anna", "thread_id": thread, "run_id": run, "message": "ask", "response": "answer"}]
