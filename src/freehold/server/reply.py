"""Plain JSON answers, encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from freehold.core.encode import to_json

JSON = "application/json"


def reply(value: Any, *, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Any value as JSON."""
    return Response(to_json(value), status, headers, JSON)


def nothing(status: int = 204) -> Response:
    """Done, with nothing to say."""
    return Response(status_code=status)


def page(rows: list[Any], total: int, *, limit: int, offset: int) -> Response:
    """One page of a list, with what the SDKs read from its headers."""
    headers = {"X-Pagination-Total": str(total)}
    if offset + limit < total:
        headers["X-Pagination-Next"] = str(offset + limit)
    return reply(rows, headers=headers)
