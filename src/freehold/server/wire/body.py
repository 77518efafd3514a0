"""What all request bodies have in common: null means absent, unknown keys pass, and what we know but do not do is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from freehold.core.errors import NotSupported

#: A JSON object of the client's own.
JsonObject = dict[str, Any]


def _lower(given: Any) -> Any:
    return given.lower() if isinstance(given, str) else given


#: Which way a search sorts; `"DESC"` is as good.
SortOrder = Annotated[Literal["asc", "desc"], BeforeValidator(_lower)]


class Body(BaseModel):
    """Base of request bodies."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, protected_namespaces=())

    #: Keys of the protocol that are not supported yet -> what to do instead.
    refused: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls_and_refuse(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for key, hint in cls.refused.items():
            if given.get(key):
                raise NotSupported(f'"{key}" is not supported by this version', hint=hint)
        return {key: value for key, value in given.items() if value is not None}


def only(selected: Sequence[str] | None, shown: JsonObject) -> JsonObject:
    """The fields a client selected, or all."""
    return shown if not selected else {key: value for key, value in shown.items() if key in selected}
