"""Headers of a request that runs are told and logs show, where the project asks for it (`http.configurable_headers`, `logging_headers`).

Patterns never pick up credentials: `authorization`, cookies and whatever is called a key, token or secret are given on only
where a project names them exactly. Nothing is given on by default, as LangGraph's servers have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from fnmatch import translate

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.core.run import RunRequest
from freehold.graphs.project_config import HeaderPatterns

_CREDENTIAL = re.compile(r"auth|cookie|key|token|secret|passw|session|credential|signature|jwt")

#: Header names are not case-sensitive, and one with an underscore could pass for a key that the worker sets, `thread_id`.
_NAME = re.compile(rb"[a-z0-9-]{1,128}")

_given: ContextVar[Mapping[str, str]] = ContextVar("request_headers")


class HeaderRules:
    """Which headers of a request are meant; decided per name, exclusions first."""

    def __init__(self, patterns: HeaderPatterns | None) -> None:
        includes = [pattern.lower() for pattern in (patterns.includes or ())] if patterns else []
        excludes = [pattern.lower() for pattern in (patterns.excludes or ())] if patterns else []
        self._exact = {pattern for pattern in includes if "*" not in pattern}
        self._includes = _any_of([pattern for pattern in includes if "*" in pattern])
        self._excludes = _any_of(excludes)

    def chosen(self, scope: Scope) -> dict[str, str]:
        """Name -> value, names in lower case; of a header sent twice the last counts."""
        return {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if _NAME.fullmatch(name) and self._is_meant(name.decode()) and b"\0" not in value
        }

    def _is_meant(self, name: str) -> bool:
        if self._excludes and self._excludes.fullmatch(name):
            return False
        return name in self._exact or bool(self._includes and self._includes.fullmatch(name) and not _CREDENTIAL.search(name))


class RequestHeaders:
    """ASGI middleware that keeps what runs shall be told until one is launched, and adds to the log lines of the request."""

    def __init__(self, app: ASGIApp, configurable: HeaderPatterns | None, logged: HeaderPatterns | None) -> None:
        self._app = app
        self._configurable = HeaderRules(configurable)
        self._logged = HeaderRules(logged)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            _given.set(self._configurable.chosen(scope))
            if logged := self._logged.chosen(scope):
                structlog.contextvars.bind_contextvars(headers=logged)
        await self._app(scope, receive, send)


def with_headers(request: RunRequest) -> RunRequest:
    """The run told of the headers of the request at hand, in `configurable`. What a client says there itself does not count
    against them: a proxy may have set them for graphs to rely on."""
    if not (headers := _given.get({})):
        return request
    configurable = {**(request.config.get("configurable") or {}), **headers}
    return replace(request, config={**request.config, "configurable": configurable})


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    """Only `*` is special in them."""
    if not patterns:
        return None
    return re.compile("|".join(translate(re.sub(r"[\[?]", lambda found: f"[{found[0]}]", pattern)) for pattern in patterns))
