"""What waits for a person, across threads: found, and answered so that two people never answer the same question.

An answer is a run that resumes its thread. It is accepted in the transaction that holds the thread and has seen that the question is
still open; several answers of one request are accepted together or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, NotFound
from freehold.core.ids import assistant_id
from freehold.core.question import MOST_SECONDS, Question, questions
from freehold.core.run import Run, RunRequest
from freehold.storage import queries
from freehold.storage.pool import Pool, act_as_process, as_caller, connection, unstorable
from freehold.storage.runs import Runs, Target, stored_request
from freehold.storage.threads import Thread, thread_of
from freehold.storage.transaction import as_pool

SQL = queries.load("inbox")

#: Threads with an expired question that are seen to in one transaction.
EXPIRED_AT_ONCE = 50

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True)
class InboxFilter:
    """Which threads to look at; None does not restrict."""

    ids: list[UUID] | None = None
    metadata: dict[str, Any] | None = None
    asked_before: datetime | None = None
    asked_after: datetime | None = None
    sort_order: Literal["asc", "desc"] = "asc"
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True)
class Waiting:
    """A thread that stands at interrupts, since `asked_at`."""

    thread_id: UUID
    metadata: dict[str, Any]
    questions: Sequence[Question]
    asked_at: datetime
    run_id: UUID | None
    assistant_id: UUID | None


@dataclass(frozen=True)
class Asking:
    """A thread held to be answered: what it asks now, and what its run was asked for."""

    thread: Thread
    questions: Mapping[str, Question]
    assistant_id: UUID
    request: RunRequest
    #: The database's clock.
    present: datetime

    @property
    def graph_id(self) -> str | None:
        """The graph that asks."""
        found = self.request.graph_id or self.thread.metadata.get("graph_id")
        return found if isinstance(found, str) else None

    def expired(self, question: Question) -> bool:
        until = question.expires_at(self.thread.state_updated_at)
        return until is not None and until <= self.present


@dataclass(frozen=True)
class Held:
    """Threads that nobody else answers for now, by id."""

    asking: Mapping[UUID, Asking]
    _conn: Connection
    _runs: Runs

    @property
    def pool(self) -> Pool:
        """For what has to be read while they are held: no second connection, which others who hold threads might all wait for."""
        return as_pool(self._conn)

    async def answer(self, caller: Caller, asking: Asking, request: RunRequest, graph_id: str) -> Run:
        """Accept the run that brings the answers; stored with all others of the transaction. Raises as `Runs.accept`."""
        target = Target(asking.assistant_id, graph_id, asking.thread.thread_id)
        return (await self._runs.within(self._conn).accept(caller, target, request)).run


class Inbox:
    """Statements on questions that wait."""

    def __init__(self, pool: Pool, runs: Runs) -> None:
        self._pool = pool
        self._runs = runs

    async def search(self, caller: Caller, wanted: InboxFilter) -> list[Waiting]:
        """A page of threads that ask something; those that wait longest first, unless it is asked for the other way."""
        order = sql.SQL("ASC" if wanted.sort_order == "asc" else "DESC")
        arguments = {
            **caller.arguments(),
            "ids": wanted.ids,
            "metadata": Jsonb(wanted.metadata or {}),
            "asked_before": wanted.asked_before,
            "asked_after": wanted.asked_after,
            "limit": wanted.limit,
            "offset": wanted.offset,
        }
        try:
            async with as_caller(self._pool, caller) as conn:
                rows = await (await conn.execute(sql.SQL(SQL["waiting"]).format(order=order), arguments)).fetchall()
        except psycopg.DataError as error:
            raise unstorable(error, "the filter") from error
        return [
            Waiting(
                row["thread_id"], row["metadata"], questions(row["interrupts"]), row["state_updated_at"], row["run_id"], row["assistant_id"]
            )
            for row in rows
        ]

    @asynccontextmanager
    async def hold(self, caller: Caller, ids: Sequence[UUID]) -> AsyncIterator[Held]:
        """Threads to answer, in one transaction: what is accepted within is stored once the context has closed, or not at all.

        Raises:
            NotFound: one of them is not the caller's.
            Conflict: one has a run, or waits for nothing.
            QuotaExceeded: as `Runs.accept`, where an answer starts a run too many.
        """
        async with as_caller(self._pool, caller) as conn:
            await self._runs.hold_quotas(conn, caller)
            rows = await (await conn.execute(SQL["hold"], {"ids": list(ids), **caller.arguments()})).fetchall()
            if missing := set(ids) - {row["thread_id"] for row in rows}:
                raise NotFound(f"Thread with ID {min(missing)} not found")
            for row in rows:
                if row["status"] != "interrupted":
                    raise Conflict(
                        f"thread {row['thread_id']} waits for no answer: it is {row['status']}", hint="it may be answered already"
                    )
            yield Held({row["thread_id"]: await _asking(conn, row) for row in rows}, conn, self._runs)

    async def expire(self) -> int:
        """See to questions that nobody answered in time, a batch of threads at most; how many threads.

        Where each of them says what is to be taken for an answer, the thread goes on with that; otherwise it becomes an error.
        """
        async with connection(self._pool) as conn, conn.transaction():
            arguments = {"most": MOST_SECONDS, "limit": EXPIRED_AT_ONCE}
            rows = await (await conn.execute(SQL["expired"], arguments)).fetchall()
            for row in rows:
                await self._expire(conn, await _asking(conn, row))
        return len(rows)

    async def _expire(self, conn: Connection, asking: Asking) -> None:
        late = [question for question in asking.questions.values() if asking.expired(question)]
        thread = asking.thread
        graph_id = asking.graph_id
        if late and graph_id and all(question.has_default for question in late):
            request = resuming(asking.request, {question.id: question.on_expiry for question in late})
            target = Target(asking.assistant_id, graph_id, thread.thread_id)
            await self._runs.within(conn, counted=False).accept(Caller(thread.organisation, thread.owner), target, request)
            await act_as_process(conn)
            return
        error = {"error": "InterruptExpired", "message": "nobody answered in time"}
        await conn.execute(SQL["give_up"], {"thread_id": thread.thread_id, "error": Jsonb(error)})


def resuming(request: RunRequest, answers: Mapping[str, Any]) -> RunRequest:
    """What a run was asked for, once more, with answers by interrupt id instead of its input."""
    return replace(request, input=None, command={"resume": dict(answers)}, checkpoint=None, on_completion="keep")


def _waiting(row: DictRow) -> Waiting:
    asked = questions(row["interrupts"])
    return Waiting(row["thread_id"], row["metadata"], asked, row["state_updated_at"], row["run_id"], row["assistant_id"])


async def _asking(conn: Connection, row: DictRow) -> Asking:
    thread = thread_of(row)
    last = await (await conn.execute(SQL["last_run"], {"thread_id": thread.thread_id})).fetchone()
    return Asking(
        thread,
        {question.id: question for question in questions(thread.interrupts)},
        last["assistant_id"] if last else _made_for(thread),
        stored_request(last["request"]) if last else RunRequest(),
        cast(datetime, row["present"]),
    )


def _made_for(thread: Thread) -> UUID:
    """The assistant of a thread that never ran itself: a copy, or one whose state was written by hand."""
    try:
        return UUID(str(thread.metadata.get("assistant_id")))
    except ValueError:
        return assistant_id(str(thread.metadata.get("graph_id")))
