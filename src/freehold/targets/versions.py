"""The one lock of a stack: for each program its image, its wheels or its packages of the distribution. `versions.toml` beside this."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

#: A name with a tag that says a version, and no digest: that stands beside it.
_IMAGE = r"^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9._-]*$"


class Version(BaseModel):
    """Where one program comes from; what is not set cannot be had that way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Annotated[str, Field(pattern=_IMAGE)] | None = None
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    lock: str | None = None
    debian: tuple[str, ...] = ()
    present: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None
    run: tuple[str, ...] = ()
    share: bool = False

    @property
    def reference(self) -> str | None:
        """The image as containers are told, e.g. `valkey/valkey:9.0@sha256:…`."""
        return f"{self.image}@{self.digest}" if self.image and self.digest else self.image


@cache
def versions() -> Mapping[str, Version]:
    """Every program by its abstract name."""
    text = (files("freehold.targets") / "versions.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Version]).validate_python(tomllib.loads(text))
