"""Questions that wait for a person, and their answers, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from freehold.server.wire.body import Body, JsonObject
from freehold.server.wire.runs import RunShown
from freehold.server.wire.threads import Ids, Limit, Offset
from freehold.storage.inbox import InboxFilter, Waiting

#: Answers one request may bring.
MAX_ANSWERS = 100


class InboxSearch(Body):
    """Which questions to show."""

    graph_id: str | None = None
    assistant_id: UUID | None = None
    thread_ids: Ids | None = None
    metadata: JsonObject = Field(default_factory=dict)
    """Of the thread."""
    asked_before: datetime | None = None
    asked_after: datetime | None = None
    sort_order: Literal["asc", "desc"] = "asc"
    """`asc`: what waits longest first."""
    limit: Limit = 10
    """Threads on a page; one may ask several questions."""
    offset: Offset = 0

    def filter(self, *, limit: int) -> InboxFilter:
        named = {"graph_id": self.graph_id, "assistant_id": str(self.assistant_id) if self.assistant_id else None}
        return InboxFilter(
            ids=self.thread_ids,
            metadata={**self.metadata, **{key: value for key, value in named.items() if value}},
            asked_before=self.asked_before,
            asked_after=self.asked_after,
            sort_order=self.sort_order,
            limit=limit,
            offset=self.offset,
        )


class Answer(Body):
    """The answer to one question."""

    thread_id: UUID
    interrupt_id: Annotated[str, Field(min_length=1, max_length=200)]
    response: Any = None
    """What `interrupt()` returns in the graph; checked against the question's `response_schema`."""


class InboxRespond(Body):
    """Answers: `responses`, or one alone."""

    responses: Annotated[list[Answer], Field(min_length=1, max_length=MAX_ANSWERS)]

    @model_validator(mode="before")
    @classmethod
    def _one_alone(cls, given: Any) -> Any:
        is_one = isinstance(given, dict) and "responses" not in given and "interrupt_id" in given
        return {"responses": [given]} if is_one else given


class QuestionShown(BaseModel):
    """One interrupt that waits for an answer."""

    thread_id: UUID
    interrupt_id: str
    run_id: UUID | None
    """The run that asked; null where the thread has none, as a copy."""
    assistant_id: UUID | None
    graph_id: str | None
    value: Any
    """What the graph asks."""
    response_schema: JsonObject | None
    """JSON Schema of the answers it takes; null takes any."""
    created_at: datetime
    expires_at: datetime | None
    metadata: JsonObject
    """Of the thread."""


class Answered(BaseModel):
    """The runs that bring the answers, one for each thread."""

    runs: list[RunShown]


def shown(waiting: Waiting) -> list[JsonObject]:
    """A thread's questions as `QuestionShown`."""
    return [
        {
            "thread_id": waiting.thread_id,
            "interrupt_id": question.id,
            "run_id": waiting.run_id,
            "assistant_id": waiting.assistant_id,
            "graph_id": waiting.metadata.get("graph_id"),
            "value": question.value,
            "response_schema": question.response_schema,
            "created_at": waiting.asked_at,
            "expires_at": question.expires_at(waiting.asked_at),
            "metadata": waiting.metadata,
        }
        for question in waiting.questions
    ]
