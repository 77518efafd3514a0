"""Puts the HTTP application together: the guard in front, one router per resource, errors in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from freehold import __version__
from freehold.config.settings import Settings
from freehold.server import errors
from freehold.server.agents import Agents
from freehold.server.auth import Authentication
from freehold.server.guard import Guard
from freehold.server.parts import ServerParts
from freehold.server.request_spans import RequestSpans
from freehold.server.routes import assistants, chat, openai, refused, runs, state, stateless, system, threads

#: In the order requests are matched: fixed paths of a resource before its `{id}` ones.
ROUTERS = (
    system.router,
    assistants.router,
    threads.router,
    state.router,
    stateless.router,
    runs.router,
    chat.router,
    openai.router,
    refused.router,
)

OpenParts = Callable[[], AbstractAsyncContextManager[ServerParts]]


def create_app(settings: Settings, open_parts: OpenParts) -> FastAPI:
    """The ASGI application. Storage, events and graphs are opened with `open_parts` when the server starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts() as parts:
            app.state.parts = parts
            app.state.authentication = Authentication(parts.api_keys, needs_keys=settings.server.needs_keys)
            app.state.agents = Agents(parts.graphs)
            yield

    app = FastAPI(
        title="Freehold",
        version=__version__,
        summary="The LangGraph API on your own hardware, with plain chat and an OpenAI-compatible endpoint.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # all three are routes of ours, so that keys guard them
        middleware=[Middleware(Guard, settings=settings), *([Middleware(RequestSpans)] if settings.telemetry.otlp_endpoint else [])],
        exception_handlers=errors.HANDLERS,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # FastAPI's own, which it makes wherever an exporter is set up
    )
    for router in ROUTERS:
        app.include_router(router)
    return app
