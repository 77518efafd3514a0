"""The application as a whole: what it serves is what the reference says."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from freehold.config.settings import Settings
from freehold.server.app import create_app
from freehold.server.parts import ServerParts
from freehold.server.routes.refused import REFUSED

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text()


def no_parts() -> AbstractAsyncContextManager[ServerParts]:
    raise AssertionError("nothing is opened before the server starts")


def documented() -> set[tuple[str, str]]:
    """`GET`, `PATCH /a` and `GET /b` in backquotes -> {("GET", "/a"), ("PATCH", "/a"), ("GET", "/b")}."""
    found = set()
    for methods, path in re.findall(r"((?:`[A-Z]+`, )*)`([A-Z]+ /[^`]*)`", REFERENCE):
        method, address = path.split(" ", 1)
        found |= {(one, address) for one in [*re.findall(r"[A-Z]+", methods), method]}
    return found


def test_every_route_is_in_the_reference_and_every_route_there_exists() -> None:
    paths = create_app(Settings(), no_parts).openapi()["paths"]
    served = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    pages = {("GET", "/docs"), ("GET", "/openapi.json")}
    assert documented() == served | pages | {(method, path) for method, path, _ in REFUSED}
