"""An assistant: a graph with settings of its own, and how they lie under what a client asks of a run.

What a run executes is decided when it is accepted and stored with it: a worker needs no look-up, and a change of the assistant alters
no run that waits, or goes on after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from freehold.core.run import RunRequest, graph_keys


@dataclass(frozen=True)
class Assistant:
    """A graph with settings. `organisation` and `owner` are None for system assistants: one a graph, everybody's, without settings."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    #: `{"configurable", "tags", "recursion_limit", "metadata"}`, as LangChain knows them.
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    version: int
    organisation: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_system(self) -> bool:
        return self.owner is None


@dataclass(frozen=True)
class Settings:
    """What an assistant gives its runs."""

    config: Mapping[str, Any]
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, assistant: Assistant) -> Settings:
        return NO_SETTINGS if assistant.is_system else cls(assistant.config, assistant.context, assistant.metadata)


#: Those of a system assistant.
NO_SETTINGS = Settings({}, {}, {})


def executed(request: RunRequest, settings: Settings) -> RunRequest:
    """What a run executes: the assistant's settings under the client's.

    A graph reads its settings from `configurable` or from its context, whichever it was written for: who gave only one gave both.
    """
    asked = request.config
    configurable, context = mirrored(asked.get("configurable"), request.context)
    merged = {
        **settings.config,
        **asked,
        "configurable": {**_mapping(settings.config.get("configurable")), **configurable},
        "metadata": {**_mapping(settings.config.get("metadata")), **_mapping(asked.get("metadata"))},
        "tags": [*(settings.config.get("tags") or ()), *(asked.get("tags") or ())],
    }
    return replace(
        request,
        config={key: value for key, value in merged.items() if value},
        context={**settings.context, **context} or None,
        metadata={**settings.metadata, **request.metadata},
    )


def mirrored(configurable: Mapping[str, Any] | None, context: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`configurable` and context where one of them may be missing: each has the other's keys then, as far as they are a graph's."""
    configurable, context = dict(configurable or {}), dict(context or {})
    asked = graph_keys(configurable)
    return (configurable, asked) if not context else ({**configurable, **graph_keys(context)} if not asked else configurable, context)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
