"""Where Freehold's errors become HTTP: the only place that knows status codes.

Bodies are `{"detail": "...", "code": "not_found", "hint": "..."}`; under /v1 they have OpenAI's shape instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from freehold.core import errors
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError
from freehold.server.paths import route_path

log = logging.getLogger(__name__)

#: The nearest base class in this table decides; what is not in it is 500.
STATUS: Mapping[type[FreeholdError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Ambiguous: 400,
    errors.InvalidRequest: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.QuotaExceeded: 429,
    errors.NotConfigured: 503,
    errors.Unhealthy: 503,
    errors.TimedOut: 504,
}

#: Seconds after which a client may try again when a service is away.
RETRY_AFTER_SECONDS = 2

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def status_of(error: FreeholdError) -> int:
    """HTTP status of an error, by its nearest base class."""
    return next((STATUS[base] for base in type(error).__mro__ if base in STATUS), 500)


def respond(
    status: int, message: str, code: str, hint: str | None = None, *, openai: bool = False, request_id: str | None = None
) -> Response:
    """One error as a response, in the shape the clients of that path expect.

    Args:
        request_id: what the log has it under, where the fault is the server's.
    """
    body: dict[str, Any]
    headers: dict[str, str] = {}
    if openai:
        status = 400 if status == 422 else status
        kind = "server_error" if status >= 500 else _OPENAI_TYPES.get(status, "invalid_request_error")
        text = f"{message} ({hint})" if hint else message
        if status in {500, 504}:
            headers["x-should-retry"] = "false"  # OpenAI's clients would run the agent again, with all it does
        body = {"error": {"message": text, "type": kind, "param": None, "code": code}}
    else:
        found_under = {"request_id": request_id} if request_id and status >= 500 else {}
        body = {"detail": message, "code": code, **({"hint": hint} if hint else {}), **found_under}
    if status == 401:
        described = f' error="invalid_token", error_description="{_quotable(message)}"' if code == errors.InvalidToken.code else ""
        headers["WWW-Authenticate"] = "Bearer" + described
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(to_json(body), status, headers, "application/json")


def _quotable(text: str) -> str:
    """What RFC 6750 allows in an error_description: printable ASCII without quotes and backslashes."""
    return "".join(letter if " " <= letter <= "~" and letter not in {'"', "\\"} else "'" for letter in text)[:300]


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


def _is_openai(request: Request) -> bool:
    return route_path(request.scope).startswith("/v1/")


async def _ours(request: Request, error: FreeholdError) -> Response:
    status = status_of(error)
    if status >= 500:  # the text may be a graph's, which may quote its user
        log.warning("%s %s: %d", request.method, request.scope["path"], status, extra={"action": "request_failed", "code": error.code})
    response = respond(status, error.message, error.code, error.hint, openai=_is_openai(request), request_id=_request_id(request))
    if isinstance(error, errors.QuotaExceeded):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


async def _validation(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    shown = "; ".join(f"{_place(item['loc'])}{item['msg']}" for item in found[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return respond(422, shown + more, errors.InvalidRequest.code, openai=_is_openai(request))


def _place(location: tuple[int | str, ...]) -> str:
    """`("body", "config", "tags", 0)` -> `config.tags.0: `."""
    path = ".".join(str(part) for part in location if part not in {"body", "path", "query", "header"})
    return f"{path}: " if path else ""


async def _http(request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 422: "invalid_request"}.get(error.status_code, "error")
    message = f"no such path: {request.scope['path']}" if error.status_code == 404 else str(error.detail)
    response = respond(error.status_code, message, code, openai=_is_openai(request))
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    """The traceback goes to the log; the client learns only how to find it."""
    request_id = _request_id(request)
    hint = f"the server's log has the reason under request id {request_id}"
    return respond(500, "internal error", "internal", hint, openai=_is_openai(request), request_id=request_id)


HANDLERS: dict[int | type[Exception], Callable[..., Any]] = {
    FreeholdError: _ours,
    RequestValidationError: _validation,
    HTTPException: _http,
    Exception: _unexpected,
}
