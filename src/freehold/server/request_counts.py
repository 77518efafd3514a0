"""Counts requests by how they were answered, around everything, so that what the guard refuses and what fails unforeseen counts too."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.telemetry.metrics import HTTP_REQUESTS

#: What probes and scrapers ask for all day: beside it, a share of failures would say nothing.
_NOT_COUNTED = frozenset({"/ok", "/health", "/metrics"})

#: By the first digit of a status code.
_BY_CLASS = {digit: HTTP_REQUESTS.labels(f"{digit}xx") for digit in range(2, 6)}


class RequestCounts:
    """ASGI middleware. A request that its client left before there was an answer is not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _NOT_COUNTED:
            await self._app(scope, receive, send)
            return
        answered = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.start":
                answered = True
                _BY_CLASS[message["status"] // 100].inc()
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not answered:  # answered outside of all middleware, with 500
                _BY_CLASS[5].inc()
            raise
