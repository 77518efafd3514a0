"""Assistants on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, field_validator

from freehold.server.wire.body import Body, JsonObject, only
from freehold.server.wire.threads import Limit, Offset
from freehold.storage.assistants import Assistant, AssistantFilter


class AssistantCount(Body):
    """Which assistants to count."""

    metadata: JsonObject = Field(default_factory=dict)
    graph_id: str | None = None
    name: str | None = None
    """Part of the name, case ignored."""

    def filter(self) -> AssistantFilter:
        return AssistantFilter(graph_id=self.graph_id, metadata=self.metadata or None, name=self.name, limit=1)


class AssistantSearch(AssistantCount):
    """Which assistants to show."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: str = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    select: list[str] | None = None

    @field_validator("sort_order", mode="before")
    @classmethod
    def _lower(cls, given: Any) -> Any:
        return given.lower() if isinstance(given, str) else given

    def filter(self) -> AssistantFilter:
        return AssistantFilter(
            graph_id=self.graph_id,
            metadata=self.metadata or None,
            name=self.name,
            sort_by=self.sort_by,
            sort_order=self.sort_order,
            limit=self.limit,
            offset=self.offset,
        )


class AssistantShown(BaseModel):
    """An assistant as clients see it."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    config: JsonObject
    context: JsonObject
    metadata: JsonObject
    version: int
    created_at: datetime
    updated_at: datetime


def shown(assistant: Assistant, select: list[str] | None = None) -> JsonObject:
    """A row as `AssistantShown`."""
    fields = AssistantShown.model_fields
    return only(select, {name: getattr(assistant, name) for name in fields})
