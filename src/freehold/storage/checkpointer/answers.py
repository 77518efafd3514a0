"""What became of the command of a run whose worker died. The next attempt may have to give it again, and none of it may count twice.

LangGraph stores a command at once, beside the checkpoint before the run: an update given again would be added to the one that is
there. And a node that had taken the answer and asked its next question must not take the first answer for the second one. A run
has used the answer to a task's question when the task, or the subgraph it stands for, has stored anything for that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg
from langgraph.checkpoint.base import WRITES_IDX_MAP

from freehold.core.errors import LeaseLost
from freehold.storage.checkpointer.saver import NULL_TASK
from freehold.storage.checkpointer.write import FENCED
from freehold.storage.pool import Pool, connection

_USED = """
SELECT DISTINCT task FROM unnest(%(tasks)s::text[]) AS task
 WHERE EXISTS (SELECT FROM freehold.thread_writes w
                WHERE w.run_id = %(run)s AND w.thread_id = %(thread)s AND (w.task_id = task OR strpos(w.checkpoint_ns, task) > 0))
    OR EXISTS (SELECT FROM freehold.thread_checkpoints c
                WHERE c.metadata ? 'run_id' AND c.metadata->>'run_id' = %(run)s AND c.thread_id = %(thread)s
                  AND strpos(c.checkpoint_ns, task) > 0)
"""

_FORGET = """
DELETE FROM freehold.thread_writes
 WHERE thread_id = %(thread)s AND checkpoint_ns = '' AND task_id = %(no_task)s AND run_id = %(run)s AND (idx = %(answer)s OR %(all)s)
"""


async def take_back(pool: Pool, thread_id: UUID, run_id: UUID, epoch: int, asking: Sequence[str]) -> frozenset[str]:
    """Forget what is stored of the run's command and has to be given again. Returns which of the tasks that ask have used its answer.

    Where none has, that is all of it. Where any has, only an answer that names no question: the update stands.

    Args:
        epoch: the claim that asks.
        asking: ids of tasks of the root graph.

    Raises:
        LeaseLost: another worker holds the run.
    """
    thread, run = str(thread_id), str(run_id)
    async with connection(pool) as conn, conn.transaction():
        try:
            await conn.execute("SELECT freehold.fence(%s, %s)", (run_id, epoch))
        except psycopg.Error as error:
            if error.sqlstate != FENCED:
                raise
            raise LeaseLost(str(error).splitlines()[0]) from error
        rows = await (await conn.execute(_USED, {"tasks": list(asking), "thread": thread, "run": run})).fetchall()
        given = {"thread": thread, "run": run, "no_task": NULL_TASK, "answer": WRITES_IDX_MAP["__resume__"], "all": not rows}
        await conn.execute(_FORGET, given)
    return frozenset(row["task"] for row in rows)
