"""The project's own Starlette or FastAPI application (`http.app` of langgraph.json) around and beside ours.

Its routes win over ours, its middleware is around both, its lifespan is within ours: it starts once storage and graphs are
open. Its exception handlers and its 404s are for its own routes only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.core.errors import Forbidden, Unauthenticated
from freehold.core.user import user
from freehold.graphs.loader import load_object
from freehold.graphs.project import Project
from freehold.graphs.project_config import HttpConfig
from freehold.server import errors
from freehold.server.auth import KNOWN, Authentication
from freehold.server.paths import route_path

#: What needs no credential of ours in any case.
PUBLIC = frozenset({"/", "/ok", "/health"})


class ProjectApp:
    """A loaded application; `serve` answers a request with it or with `ours`."""

    def __init__(self, app: Starlette, http: HttpConfig) -> None:
        self.app = app
        self._authenticates = http.enable_custom_route_auth
        self._auth_first = http.middleware_order == "auth_first"
        self._routes = [route for route in app.router.routes if not _is_generated(app, route)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Any]]:
        """Its lifespan; gives the state it yields."""
        async with self.app.router.lifespan_context(self.app) as state:
            yield dict(state or {})

    def around(self, ours: ASGIApp) -> ASGIApp:
        """Its middleware and routes, with ours where it has none for a request."""
        inner = ServerErrorMiddleware(ours, handler=errors.HANDLERS[Exception])  # or its own would answer for our errors
        return _stack(self.app, _Routes(self, inner))

    async def authenticate_first(self, scope: Scope) -> None:
        """With `auth_first`, before its middleware: raises what `authenticate` does."""
        if self._auth_first and (self._authenticates if self.answers(scope) else route_path(scope) not in PUBLIC):
            await _authenticate(scope)

    async def authenticate_route(self, scope: Scope) -> None:
        """For its own routes, where the project asks for it. Raises Unauthenticated, Forbidden or HTTPException."""
        if self._authenticates and KNOWN not in scope:
            await _authenticate(scope)

    def answers(self, scope: Scope) -> bool:
        """Whether a route of its own takes this request: path and method, or the path alone where ours has none for both.

        What it mounts at the root, a page with its files, takes `/` and what ours has no route for.
        """
        best, at_root = Match.NONE, False
        for route in self._routes:
            match, _ = route.matches(scope)
            if match.value > best.value:
                best, at_root = match, isinstance(route, Mount) and not route.path
            if best is Match.FULL:
                break
        if best is Match.NONE or (best is Match.FULL and not at_root):
            return best is Match.FULL
        if at_root and route_path(scope) == "/":
            return True
        return all(route.matches(scope)[0] is not Match.FULL for route in scope["ours"].router.routes)

    def openapi(self, ours: dict[str, Any]) -> dict[str, Any]:
        """Our document with its paths, which win, and its schemas, ours winning there."""
        if isinstance(self.app, FastAPI):
            theirs = self.app.openapi()
        else:
            theirs = {"paths": {route.path: _operations(route) for route in self._routes if isinstance(route, Route)}}
        components = dict(ours.get("components", {}))
        for kind, named in theirs.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
        paths = dict(ours["paths"])
        for path, operations in theirs["paths"].items():
            paths[path] = {**paths.get(path, {}), **operations}
        return {**ours, "paths": paths, "components": components}


class ProjectRoutes:
    """ASGI middleware of our application: hands requests to the project's, which hands on what it has no route for."""

    def __init__(self, app: ASGIApp) -> None:
        self._ours = app
        self._stacks: dict[ProjectApp, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = scope["app"]
        project = cast("ProjectApp | None", getattr(app.state, "project_app", None))
        if project is None or scope["type"] not in {"http", "websocket"}:
            await self._ours(scope, receive, send)
            return
        if project not in self._stacks:
            self._stacks[project] = project.around(self._ours)
        scope.update(ours=app, app=project.app)  # in place: what is around reads from it which route was taken
        try:
            await project.authenticate_first(scope)
        except (Unauthenticated, Forbidden, HTTPException) as error:
            await _answer(error, scope, receive, send)
            return
        await self._stacks[project](scope, receive, send)


class _Routes:
    """Stands where the router of the project's application stood, innermost."""

    def __init__(self, project: ProjectApp, ours: ASGIApp) -> None:
        self._project = project
        self._ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._project.answers(scope):
            scope["app"] = scope["ours"]
            await self._ours(scope, receive, send)
            return
        try:
            await self._project.authenticate_route(scope)
        except (Unauthenticated, Forbidden, HTTPException) as error:
            await _answer(error, scope, receive, send)
            return
        await self._project.app.router(scope, receive, send)


def load_app(project: Project | None) -> ProjectApp | None:
    """The application langgraph.json names; None where it names none. Blocking: call it in a thread.

    Raises:
        GraphError: it does not import, or it is no Starlette or FastAPI application.
    """
    if project is None or project.http.app is None:
        return None
    return ProjectApp(load_object(project.http.app, project, key="http.app", kind=Starlette), project.http)


def _stack(app: Starlette, innermost: ASGIApp) -> ASGIApp:
    """Its middleware as Starlette puts it together, around something else than its router."""
    router = app.router
    app.router = cast(Any, innermost)
    try:
        return app.build_middleware_stack()
    finally:
        app.router = router


async def _authenticate(scope: Scope) -> None:
    """Put who asks where Starlette's handlers look: `request.user`, `request.auth`."""
    authentication = cast(Authentication, scope["ours"].state.authentication)
    caller = await authentication.caller(HTTPConnection({**scope, "app": scope["ours"]}))
    scope[KNOWN] = caller
    scope["user"] = user(caller.owner, caller.user)
    scope["auth"] = AuthCredentials(sorted(caller.permissions))


async def _answer(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
        return
    handle = next(errors.HANDLERS[kind] for kind in type(error).__mro__ if kind in errors.HANDLERS)
    response = await handle(Request(scope), error)
    await response(scope, receive, send)


def _is_generated(app: Starlette, route: BaseRoute) -> bool:
    """FastAPI's own pages of a project's application, which would hide ours; its operations are in our document."""
    generated = {"openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url"}
    return isinstance(app, FastAPI) and getattr(route, "path", None) in {getattr(app, name) for name in generated}


def _operations(route: Route) -> dict[str, Any]:
    about = (getattr(route.endpoint, "__doc__", None) or "").strip().splitlines()
    described = {"summary": about[0]} if about else {}
    methods = sorted((route.methods or {"GET"}) - {"HEAD"})
    return {method.lower(): {**described, "responses": {"200": {"description": "As the project has it"}}} for method in methods}
