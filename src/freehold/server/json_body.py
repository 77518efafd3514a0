"""Request bodies read strictly: what cannot be stored or computed with is refused at the edge, so it is never a 500 later."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

#: The escape of a real NUL, which Postgres cannot store: preceded by an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

#: Only texts that hold one of these can hold a number beyond a double.
_MAYBE_INFINITE = re.compile(rb"\d[eE]\+?\d{2}|\d{300}")


class JsonRequest(Request):
    """A request whose JSON may nest 200 deep, has integers of 4300 digits at most, and neither NaN, infinities nor NUL characters."""

    async def body(self) -> bytes:
        """No body is an empty object, so that who changes a request on its way (`permit`) has something to change."""
        return await super().body() or b"{}"

    async def json(self) -> Any:
        """The value; `null` is an empty object, as no body is."""
        if not hasattr(self, "_json"):
            value = parse(await self.body())
            self._json = {} if value is None else value
        return self._json


class JsonRoute(APIRoute):
    """Gives handlers a `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handler


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises HTTPException 422 where it cannot be read or kept."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(422, f"the body is not JSON: {error}") from error
    if rb"\u0000" in body and _NUL.search(body):
        raise HTTPException(422, "the body contains a NUL character (\\u0000), which cannot be stored")
    if _MAYBE_INFINITE.search(body) and _has_infinity(value):
        raise HTTPException(422, "the body contains a number beyond the range of a double")
    return value


def _has_infinity(value: Any) -> bool:
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(_has_infinity(item) for item in value.values())
    return isinstance(value, list) and any(_has_infinity(item) for item in value)
