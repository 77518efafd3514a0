"""Puts the HTTP application together: the guard in front, the project's own application, one router per resource, errors in one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from freehold import __version__
from freehold.config.settings import Settings
from freehold.graphs.project import project_of, read_project
from freehold.graphs.project_config import HttpConfig
from freehold.server import errors
from freehold.server.agents import Agents
from freehold.server.audit import Audit
from freehold.server.auth import Authentication
from freehold.server.disabled import kept
from freehold.server.guard import AnyBodyIsJson, Guard
from freehold.server.mcp.tools import InputSchemas
from freehold.server.mount_prefix import MountPrefix
from freehold.server.parts import ServerParts
from freehold.server.project_app import ProjectRoutes, load_app
from freehold.server.project_auth import load_project_auth
from freehold.server.request_counts import RequestCounts
from freehold.server.request_headers import RequestHeaders
from freehold.server.request_spans import RequestSpans
from freehold.server.routes import (
    a2a,
    assistants,
    audit,
    auth_check,
    chat,
    crons,
    inbox,
    mcp,
    openai,
    refused,
    runs,
    state,
    stateless,
    store,
    streams,
    system,
    threads,
    webhooks,
)

#: In the order requests are matched: fixed paths of a resource before its `{id}` ones.
ROUTERS = (
    system.router,
    auth_check.router,
    assistants.router,
    threads.router,
    state.router,
    crons.router,
    streams.router,
    inbox.router,
    stateless.router,
    runs.router,
    store.router,
    audit.router,
    webhooks.router,
    chat.router,
    openai.router,
    mcp.router,
    a2a.router,
    refused.router,
)

OpenParts = Callable[[], AbstractAsyncContextManager[ServerParts]]


def create_app(settings: Settings, open_parts: OpenParts) -> FastAPI:
    """The ASGI application. Storage, events and graphs are opened with `open_parts` when the server starts.

    Raises:
        ConfigError: the project's langgraph.json is wrong.
        NotSupported: it uses a key that is refused by name.
    """
    path = project_of(settings)
    http = read_project(path).http if path else HttpConfig()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            parts = await stack.enter_async_context(open_parts())
            app.state.parts = parts
            app.state.authentication = Authentication(
                parts.api_keys if settings.server.takes_keys else None,
                needs_keys=settings.server.needs_keys,
                project=await load_project_auth(parts.graphs.project),
                tokens=parts.tokens,
                sealing=parts.sealing,
                metrics_key=parts.metrics_key,
            )
            app.state.audit = parts.audit
            app.state.agents = Agents(parts.graphs)
            app.state.input_schemas = InputSchemas()
            app.state.project_app = project_app = await asyncio.to_thread(load_app, parts.graphs.project)
            yield await stack.enter_async_context(project_app.running()) if project_app else {}

    app = FastAPI(
        title="Freehold",
        version=__version__,
        summary="The LangGraph API on your own hardware, with plain chat and an OpenAI-compatible endpoint.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # all three are routes of ours, so that keys guard them
        middleware=_middleware(settings, http),
        exception_handlers=errors.HANDLERS,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # FastAPI's own, which it makes wherever an exporter is set up
    )
    for router in ROUTERS:
        app.include_router(kept(router, http))
    app.state.http = http
    app.openapi = _openapi(app, http)  # type: ignore[method-assign] # FastAPI's way to change the document
    return app


def _middleware(settings: Settings, http: HttpConfig) -> list[Middleware]:
    """From the outside in; what nobody asked for is not in the stack."""
    stack = [Middleware(RequestCounts), Middleware(Audit), Middleware(Guard, settings=settings, cors=http.cors)]
    if settings.telemetry.otlp_endpoint:
        stack.append(Middleware(RequestSpans))
    if http.mount_prefix:
        stack.append(Middleware(MountPrefix, prefix=http.mount_prefix))
    if http.configurable_headers or http.logging_headers:
        stack.append(Middleware(RequestHeaders, configurable=http.configurable_headers, logged=http.logging_headers))
    if http.app:
        stack.append(Middleware(ProjectRoutes))
    return [*stack, Middleware(AnyBodyIsJson)]


def _openapi(app: FastAPI, http: HttpConfig) -> Callable[[], dict[str, Any]]:
    """The document with the project's own routes and prefix; made once."""
    ours = app.openapi

    @cache
    def document() -> dict[str, Any]:
        found: dict[str, Any] = ours()
        if project_app := getattr(app.state, "project_app", None):
            found = project_app.openapi(found)
        return {**found, "servers": [{"url": http.mount_prefix}]} if http.mount_prefix else found

    return document
