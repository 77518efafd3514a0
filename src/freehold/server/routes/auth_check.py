"""Who somebody is, for the edge: it asks here before it lets a request through to a part of the stack that has no login of its own."""

from __future__ import annotations

import base64
import binascii
from typing import Literal, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.errors import Forbidden, Unauthenticated
from freehold.core.permissions import EVERYTHING
from freehold.server.auth import Authentication

router = APIRouter()


@router.get("/auth/check", include_in_schema=False)
async def check(request: Request, need: Literal["any", "admin"] = "any") -> Response:
    """204 for whom the server knows, else 401; 403 where the scope "admin" is needed and missing.

    Browsers that are asked for a password send it as Basic: the password is the key then, the name is not looked at.
    """
    if key := _password(request.headers.get("authorization", "")):
        kept = [header for header in request.scope["headers"] if header[0] not in {b"authorization", b"x-api-key"}]
        request = Request({**request.scope, "headers": [*kept, (b"x-api-key", key.encode())]})
    authentication = cast(Authentication, request.app.state.authentication)
    try:
        caller = await authentication.caller(request)
    except Unauthenticated:
        if need != "admin":
            raise
        return Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="Freehold: the password is an API key"'})
    # Whom the project's own authentication knows is its own affair: that they may do everything with agents makes no administrator.
    if need == "admin" and (caller.user is not None or EVERYTHING not in caller.permissions):
        raise Forbidden("this credential does not reach so far", hint='it needs the scope "admin"')
    return Response(status_code=204)


def _password(authorization: str) -> str | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if password.isascii() and password.isprintable() else None
