"""Routes of the protocol that this version does not serve: refused by name, so that no client mistakes them for a wrong URL."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.errors import NotSupported
from freehold.server import errors
from freehold.server.auth import Authenticated

#: (method, path, what it is)
REFUSED: tuple[tuple[str, str, str], ...] = (("POST", "/ui/{graph_id}", "generative UI"),)

router = APIRouter(include_in_schema=False)


def _refusal(what: str) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def refuse(caller: Authenticated) -> Response:
        return errors.respond(501, f"not supported by this version: {what}", NotSupported.code, "docs/reference/api.md lists what is")

    return refuse


for _method, _path, _what in REFUSED:
    router.add_api_route(_path, _refusal(_what), methods=[_method])
