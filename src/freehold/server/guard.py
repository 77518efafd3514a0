"""First in line for every request: what browsers on this machine may do to us, body size, CORS and the request id.

A server on loopback without keys can be reached by every web page the user opens. So in that mode the Host must be a
loopback name with our port (a rebound DNS name is neither), and a page of another origin gets nothing unless its
origin is listed in `server.cors_origins` or in `http.cors` of langgraph.json, where `*` lists nobody then. JSON is read
whatever its content type, so the Origin check is what stops a cross-site form or text/plain POST.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.config.settings import Settings
from freehold.core.ids import new_id
from freehold.graphs.project_config import CorsConfig
from freehold.server import errors
from freehold.server.cors import CorsRules, Headers, Origins
from freehold.server.paths import route_path

_LOOPBACK_NAMES = (b"localhost", b"127.0.0.1", b"[::1]")
#: How a browser, which can set no headers on a WebSocket, offers a credential: as a subprotocol `x-api-key.KEY` or `bearer.TOKEN`.
CREDENTIAL_PROTOCOLS = ("x-api-key.", "bearer.")

#: What a browser sends along with whatever a page asks it to.
_SENT_BY_ITSELF = frozenset({b"cookie", b"authorization"})

#: Key of a request's scope: true where a page of another origin sends cookies with something that may change things.
FOREIGN = "freehold.foreign"

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Refused(Exception):
    """This request goes no further."""

    def __init__(self, status: int, message: str, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.answer = (status, message, code, hint)


class Guard:
    """ASGI middleware; the rules are fixed when it is made."""

    def __init__(self, app: ASGIApp, settings: Settings, cors: CorsConfig | None = None) -> None:
        self._app = app
        self._keyless = not settings.server.needs_keys
        self._port = settings.server.port
        #: What a proxy in front is called, e.g. `b"https://localhost:8443"`: as good as our own names.
        self._public = frozenset(url.encode() for url in settings.server.public_urls)
        self._public_hosts = frozenset(url.partition(b"://")[2] for url in self._public)
        self._origins = Origins(settings.server.cors_origins, cors, everybody=not self._keyless)
        self._max_bytes = int(settings.limits.request_body_mb * 1024 * 1024)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        scope["request_id"] = request_id = _request_id(headers)
        # A request that came in before its connection's last one had ended starts in that one's context.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        origin = headers.get(b"origin", b"").lower()
        rules = self._origins.rules(origin)
        cors = rules.headers(origin) if rules else ()
        send = _with_headers(send, ((b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff"), *cors))
        try:
            self._check(scope, headers, origin)
        except Refused as refused:
            await _refuse(scope, receive, send, refused)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif rules and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_preflight(rules, headers, send)
        else:
            await self._app(scope, self._limited(receive), send)

    def _check(self, scope: Scope, headers: Headers, origin: bytes) -> None:
        if self._keyless:
            port = (scope.get("server") or ("", None))[1] or self._port
            if (host := headers.get(b"host", b"").lower()) not in self._public_hosts:
                _check_host(host, port)
            self._check_origin(scope, headers, origin, port)
        elif scope["type"] == "websocket" and origin:
            self._check_socket_origin(scope, headers, origin)
        elif scope["type"] == "http" and scope["method"] not in _READING and b"cookie" in headers:
            scope[FOREIGN] = self._comes_from_elsewhere(headers, origin)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise Refused(413, *self._too_large())

    def _check_origin(self, scope: Scope, headers: Headers, origin: bytes, port: int) -> None:
        if origin:
            if not self._origins.rules(origin) and origin not in self._public | {b"http://" + host for host in _hosts(port)}:
                shown = origin.decode("latin-1")[:100]
                raise Refused(
                    403,
                    f"web pages of {shown} may not use this server",
                    "forbidden_origin",
                    "list the origin in server.cors_origins (freehold.toml) if it is yours",
                )
            return
        site = headers.get(b"sec-fetch-site", b"none")
        opened_by_link = headers.get(b"sec-fetch-mode") == b"navigate" and scope.get("method") in _READING
        if site in {b"cross-site", b"same-site"} and not opened_by_link:
            raise Refused(403, "a web page of another site may not use this server", "forbidden_origin")

    def _comes_from_elsewhere(self, headers: Headers, origin: bytes) -> bool:
        """Whether the page of another origin sent this, to which nobody has opened this server together with its cookies."""
        if origin:
            _, _, host = origin.partition(b"://")
            is_ours = host == headers.get(b"host", b"").lower() or headers.get(b"sec-fetch-site") == b"same-origin"
            return not is_ours and not self._origins.lists(origin) and not self._origins.takes_cookies(origin)
        return headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}

    def _check_socket_origin(self, scope: Scope, headers: Headers, origin: bytes) -> None:
        """Browsers let every page open a WebSocket with the cookies that a project's own authentication may go by, and ask no CORS rules.

        A page that offers a credential as a subprotocol has it from its user. It may have made it up, so what its browser adds by
        itself is not looked at.
        """
        _, _, host = origin.partition(b"://")
        offered = headers.get(b"sec-websocket-protocol", b"")
        knows_a_credential = any(prefix.encode() in offered for prefix in CREDENTIAL_PROTOCOLS)
        if host == headers.get(b"host", b"").lower() or self._origins.lists(origin):
            return
        if not knows_a_credential:
            shown = origin.decode("latin-1")[:100]
            raise Refused(403, f"web pages of {shown} may not open a WebSocket here", "forbidden_origin", "list it in server.cors_origins")
        scope["headers"] = [header for header in scope["headers"] if header[0] not in _SENT_BY_ITSELF]

    def _too_large(self) -> tuple[str, str, str]:
        limit = self._max_bytes / 1024 / 1024
        return f"the request body is larger than {limit:g} MiB", "too_large", "limits.request_body_mb in freehold.toml sets this"

    def _limited(self, receive: Receive) -> Receive:
        """A body without a length is counted as it comes."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._max_bytes:
                    raise HTTPException(413, self._too_large()[0])
            return message

        return limited


def _hosts(port: int) -> tuple[bytes, ...]:
    suffix = b":%d" % port
    return tuple(name + suffix for name in _LOOPBACK_NAMES) + (_LOOPBACK_NAMES if port == 80 else ())


def _check_host(host: bytes, port: int) -> None:
    if host not in _hosts(port):
        shown = host.decode("latin-1")[:100]
        raise Refused(
            421,
            f'this server answers to localhost:{port} only, not to "{shown}"',
            "forbidden_host",
            'set server.auth = "keys" to serve it under another name',
        )


def _request_id(headers: Headers) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _SANE_REQUEST_ID.fullmatch(given) else str(new_id())


def _with_headers(send: Send, extra: tuple[tuple[bytes, bytes], ...]) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            message["headers"] = [*message.get("headers", ()), *extra]
        await send(message)

    return sending


class AnyBodyIsJson:
    """ASGI middleware, behind the project's own routes: Studio and `navigator.sendBeacon` post JSON as text/plain, and every body of
    ours is JSON whatever it is called."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            kept = [header for header in scope["headers"] if header[0] != b"content-type"]
            scope["headers"] = [*kept, (b"content-type", b"application/json")]
        await self._app(scope, receive, send)


async def _answer_preflight(rules: CorsRules, headers: Headers, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": [*rules.preflight(headers), (b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": str(refused)})
        return
    status, message, code, hint = refused.answer
    await errors.respond(status, message, code, hint, openai=route_path(scope).startswith("/v1/"))(scope, receive, send)
