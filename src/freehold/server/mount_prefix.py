"""`http.mount_prefix` of langgraph.json: every route is found under it, and nowhere else."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.server import errors

#: Answered without the prefix too: programs on this machine look there whether the server is well, and the edge who somebody is.
_UNPREFIXED = frozenset({"/ok", "/health", "/metrics", "/auth/check"})


class MountPrefix:
    """ASGI middleware: what has not got the prefix is not found."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] == "lifespan" or path in _UNPREFIXED:
            await self._app(scope, receive, send)
        elif path.startswith(self._prefix + "/"):
            scope["root_path"] = str(scope.get("root_path", "")) + self._prefix
            await self._app(scope, receive, send)
        elif path == self._prefix and scope["type"] == "http":
            await RedirectResponse(self._prefix + "/", 307)(scope, receive, send)  # so that links of the page there are right
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no such path"})
        else:
            hint = f"every path of this server begins with {self._prefix} (http.mount_prefix of langgraph.json)"
            await errors.respond(404, f"no such path: {path}", "not_found", hint)(scope, receive, send)
