"""What every section of `freehold.toml` is built from: its base class, and the types that many keys share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
PositiveInt = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, field docstrings kept as descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False)


def http_url(url: str | None, example: str) -> str | None:
    """The URL without a slash at its end.

    Raises:
        ValueError: it is none of http or https; `example` stands in the message.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f'expected a URL such as "{example}", got "{url}"')
    return url.rstrip("/")
