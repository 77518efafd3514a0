"""A span for every request, from its first byte in to its last byte out; in the stack only where traces are exported."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.server.paths import route_path
from freehold.telemetry import tracing
from freehold.telemetry.conventions import Attributes

#: What probes and scrapers ask for all day.
_NOT_TRACED = frozenset({"/ok", "/health", "/metrics"})


class RequestSpans:
    """ASGI middleware, behind the guard: what it refuses leaves no span."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in _NOT_TRACED:
            await self._app(scope, receive, send)
            return
        with tracing.server_span(scope["method"], lambda: _asked(scope), _trace_headers(scope)) as span:

            async def sending(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    span.set_attributes(_answered(scope, message["status"]))
                    span.update_name(f"{scope['method']} {_route(scope)}")
                await send(message)

            await self._app(scope, receive, sending)


def _trace_headers(scope: Scope) -> dict[str, str]:
    """W3C `traceparent` and `tracestate` of the caller, where it sent them."""
    wanted = {b"traceparent", b"tracestate"}
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}


def _asked(scope: Scope) -> Attributes:
    """Without the query: only paths are known to hold nothing but names and ids."""
    return {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "freehold.request_id": scope.get("request_id", ""),
    }


def _answered(scope: Scope, status: int) -> Attributes:
    failed: Attributes = {"error.type": str(status)} if status >= 500 else {}
    return {"http.response.status_code": status, "http.route": _route(scope), **failed}


def _route(scope: Scope) -> str:
    """`/threads/{thread_id}/runs`; the router has written it into the scope by the time there is an answer."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or "unmatched")
