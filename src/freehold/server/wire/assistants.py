"""Assistants on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from freehold.core.assistant import Assistant, mirrored
from freehold.server.wire.body import Body, JsonObject, SortOrder, only
from freehold.server.wire.runs import Config, refuse_both
from freehold.server.wire.threads import Limit, Offset
from freehold.storage.assistants import AssistantChange, AssistantFilter, AssistantVersion, NewAssistant

#: What `select` may name.
Selected = Literal[
    "assistant_id", "graph_id", "name", "description", "config", "context", "metadata", "version", "created_at", "updated_at"
]


def _checked(config: JsonObject) -> JsonObject:
    """Kept as given, keys of newer clients included; what we know of it is checked."""
    Config.model_validate(config)
    return config


ConfigGiven = Annotated[JsonObject, AfterValidator(_checked)]
GraphId = Annotated[str, Field(min_length=1, max_length=512)]
Name = Annotated[str, Field(max_length=512)]


class AssistantCount(Body):
    """Which assistants to count."""

    metadata: JsonObject = Field(default_factory=dict)
    graph_id: str | None = None
    name: str | None = None
    """Part of the name, case ignored."""

    def filter(self) -> AssistantFilter:
        return AssistantFilter(graph_id=self.graph_id, metadata=self.metadata or None, name=self.name)


class AssistantSearch(AssistantCount):
    """Which assistants to show."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: str = "created_at"
    sort_order: SortOrder = "desc"
    select: list[Selected] | None = None

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


class AssistantCreate(Body):
    """A new assistant: a graph with settings."""

    graph_id: GraphId
    assistant_id: UUID | None = None
    config: ConfigGiven = Field(default_factory=dict)
    """What its runs get below their own config: `configurable`, `tags`, `recursion_limit`, `metadata`."""
    context: JsonObject = Field(default_factory=dict)
    """The same for the graph's static context. One of this and `config.configurable` is given, and is both."""
    metadata: JsonObject = Field(default_factory=dict)
    name: Name = "Untitled"
    description: str | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"

    def new(self) -> NewAssistant:
        """Raises Ambiguous where config.configurable and context are both given."""
        config, context = _settings(self.config, self.context)
        return NewAssistant(self.graph_id, self.assistant_id, self.name, self.description, config, context, self.metadata)


class AssistantPatch(Body):
    """What the next version of an assistant differs in."""

    graph_id: GraphId | None = None
    config: ConfigGiven | None = None
    """Replaces the config, and the context where that is not given."""
    context: JsonObject | None = None
    """Replaces the context, and `config.configurable` where that is not given."""
    metadata: JsonObject = Field(default_factory=dict)
    """Merged with what is there."""
    name: Name | None = None
    description: str | None = None

    def change(self, current: Assistant) -> AssistantChange:
        """Raises Ambiguous as `AssistantCreate.new`."""
        config, context = self.config, self.context
        if config is not None or context is not None:
            kept = {key: value for key, value in current.config.items() if key != "configurable"}
            config, context = _settings(kept if config is None else config, context or {})
        return AssistantChange(self.graph_id, self.name, self.description, config, context, self.metadata)


class VersionSearch(Body):
    """Which versions to show."""

    metadata: JsonObject = Field(default_factory=dict)
    limit: Limit = 10
    offset: Offset = 0


class VersionChosen(Body):
    """Which version is to be the current one."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class AssistantVersionShown(BaseModel):
    """A version as clients see it."""

    assistant_id: UUID
    version: int
    graph_id: str
    name: str
    description: str | None
    config: JsonObject
    context: JsonObject
    metadata: JsonObject
    created_at: datetime


class AssistantShown(AssistantVersionShown):
    """An assistant as clients see it."""

    updated_at: datetime


def shown(assistant: Assistant, select: list[Selected] | None = None) -> JsonObject:
    """A row as `AssistantShown`."""
    return only(select, {name: getattr(assistant, name) for name in AssistantShown.model_fields})


def version_shown(version: AssistantVersion) -> JsonObject:
    """A row as `AssistantVersionShown`."""
    return {name: getattr(version, name) for name in AssistantVersionShown.model_fields}


def _settings(config: JsonObject, context: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Both, where one of `config.configurable` and context may be missing."""
    refuse_both(config.get("configurable"), context)
    configurable, context = mirrored(config.get("configurable"), context)
    return ({**config, "configurable": configurable} if configurable else config), context
