"""Routes that a project takes away (`http.disable_*` of langgraph.json): they are not there, nor in the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.routing import BaseRoute

from freehold.graphs.project_config import HttpConfig

#: Flag -> paths. Runs on threads are runs: `disable_threads` leaves them.
_PATHS: Mapping[str, str] = {
    "disable_assistants": r"/assistants(/.*)?",
    "disable_threads": r"/threads(?!/\{thread_id\}/runs)(/.*)?",
    "disable_runs": r"/runs(/.*)?|/threads/\{thread_id\}/runs(/.*)?",
    "disable_store": r"/store(/.*)?",
    "disable_mcp": r"/mcp(/.*)?",
    "disable_a2a": r"/a2a(/.*)?|/\.well-known/agent.*",
    "disable_ui": r"/ui(/.*)?",
    "disable_meta": r"/openapi\.json|/info|/metrics|/docs(/.*)?",
}


def kept(router: APIRouter, http: HttpConfig) -> APIRouter:
    """The router without what is taken away."""
    gone = [re.compile(paths) for flag, paths in _PATHS.items() if getattr(http, flag)]
    if not gone:
        return router
    rest = APIRouter()
    rest.routes = [route for route in router.routes if not any(paths.fullmatch(_path(route)) for paths in gone)]
    return rest


def _path(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))
