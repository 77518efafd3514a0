"""Which web pages may call, and what they may send and read: `server.cors_origins` and `http.cors` of langgraph.json.

A listed origin of freehold.toml may do everything; what `http.cors` lists may do what it says there. Meanings are those of
Starlette's CORS middleware.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from freehold.graphs.project_config import CorsConfig

#: What pages read of our answers without being told.
_EXPOSED = ("content-location", "location", "x-pagination-total", "x-pagination-next", "x-request-id", "retry-after")

#: Headers that browsers let every page send.
_SAFE = ("accept", "accept-language", "content-language", "content-type")

#: No page is of this origin: a pattern that takes it takes everybody.
_NOBODY = "https://nobody-1f3870be.invalid"

Headers = Mapping[bytes, bytes]
Sent = tuple[tuple[bytes, bytes], ...]


class CorsRules:
    """What answers to pages of an origin carry; made once."""

    def __init__(self, config: CorsConfig, *, names_origin: bool) -> None:
        """`names_origin`: tell the page its own origin back, not `*`."""
        self._names_origin = names_origin or config.allow_credentials
        exposed = ", ".join(dict.fromkeys((*_EXPOSED, *config.expose_headers)))
        self._always: Sent = ((b"access-control-expose-headers", exposed.encode()),)
        if config.allow_credentials:
            self._always += ((b"access-control-allow-credentials", b"true"),)
        everything = CorsConfig().allow_methods
        self._methods = ", ".join(everything if "*" in config.allow_methods else config.allow_methods).encode()
        self._every_header = "*" in config.allow_headers
        self._headers = ", ".join(dict.fromkeys((*_SAFE, *config.allow_headers))).encode()
        self._max_age = str(config.max_age).encode()

    def headers(self, origin: bytes) -> Sent:
        """Of every answer."""
        if not self._names_origin:
            return ((b"access-control-allow-origin", b"*"), *self._always)
        return ((b"access-control-allow-origin", origin), *self._always, (b"vary", b"Origin"))

    def preflight(self, asked: Headers) -> Sent:
        """Of the answer to a browser that asks first."""
        private = asked.get(b"access-control-request-private-network") == b"true"
        return (
            (b"access-control-allow-methods", self._methods),
            (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"*") if self._every_header else self._headers),
            (b"access-control-max-age", self._max_age),
            *(((b"access-control-allow-private-network", b"true"),) if private else ()),
        )


class Origins:
    """The rules for each origin, the ones of freehold.toml first."""

    def __init__(self, listed: tuple[str, ...], project: CorsConfig | None, *, everybody: bool) -> None:
        """`everybody`: whether `*` counts. Without credentials it would open this server to every page its user looks at."""
        cors = project or CorsConfig()
        self._listed = frozenset(origin.lower().encode() for origin in listed)
        self._free = CorsRules(CorsConfig(), names_origin=True)
        named = frozenset(origin.lower().rstrip("/").encode() for origin in cors.allow_origins)
        self._everybody = everybody and b"*" in named
        self._named = named - {b"*"}
        pattern = re.compile(cors.allow_origin_regex) if cors.allow_origin_regex else None
        self._pattern = None if pattern and not everybody and pattern.fullmatch(_NOBODY) else pattern
        self._project = CorsRules(cors, names_origin=not self._everybody)
        self._with_credentials = cors.allow_credentials

    def rules(self, origin: bytes) -> CorsRules | None:
        """What holds for pages of an origin (in lower case); None where they are not listed."""
        if not origin:
            return None
        if origin in self._listed:
            return self._free
        matches = bool(self._pattern and self._pattern.fullmatch(origin.decode("latin-1")))
        return self._project if self._everybody or origin in self._named or matches else None

    def takes_cookies(self, origin: bytes) -> bool:
        """Whether the project opened itself to pages of an origin with all their browser sends along."""
        return self._with_credentials and self.rules(origin) is not None

    def lists(self, origin: bytes) -> bool:
        """Whether an origin (in lower case) is meant by name or pattern, not because everybody is."""
        matches = bool(self._pattern and self._pattern.fullmatch(origin.decode("latin-1")))
        return origin in self._listed or origin in self._named or matches
