"""The project's own application: routes, middleware and a lifespan, some of them beside ours and some in their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Form, Request, WebSocket
from starlette.applications import Starlette
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

#: What happened, in order; read by /events.
EVENTS: list[str] = []


class Stamp:
    """Marks every answer, and refuses whoever asks for it: before our authentication or after it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", scope["path"].encode())]
            await send(message)

        if any(name == b"x-teapot" for name, _ in scope.get("headers", ())):
            await Response("teapot", 418)(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    EVENTS.append("started")
    yield {"loop": id(asyncio.get_running_loop())}
    EVENTS.append("stopped")


app = FastAPI(lifespan=lifespan, title="Custom")
app.add_middleware(Stamp)


@app.middleware("http")
async def time(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """As FastAPI's documentation has it: everything passes through a task of its own."""
    response = await call_next(request)
    response.headers["x-time"] = "now"
    return response


more = APIRouter(prefix="/more")


class Broken(Exception):
    """Handled by the application's own handler."""


@app.exception_handler(Broken)
async def broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"mine": "handled"}, 409)


@app.get("/custom")
async def custom(request: Request) -> dict[str, Any]:
    """Something of the project's own."""
    who = request.scope.get("user")
    return {
        "same_loop": request.state.loop == id(asyncio.get_running_loop()),
        "user": who.identity if who is not None else None,
        "url": str(request.url_for("custom")),
        "app": request.app.title,
    }


@app.get("/info")
async def info() -> dict[str, bool]:
    """In the place of ours."""
    return {"mine": True}


@app.get("/threads")
async def threads() -> dict[str, bool]:
    """A method that ours has not on this path."""
    return {"mine": True}


@app.get("/fails")
async def fails() -> None:
    raise Broken


@app.post("/form")
async def form(colour: str = Form()) -> dict[str, str]:
    return {"colour": colour}


@app.post("/hook")
async def hook(request: Request) -> dict[str, bool]:
    EVENTS.append(f"hook:{(await request.json())['status']}")
    return {"ok": True}


@app.get("/events")
async def events() -> list[str]:
    return EVENTS


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@more.get("/deep/{name}")
async def deep(name: str) -> dict[str, str]:
    return {"name": name}


app.include_router(more)


async def plain(request: Request) -> Response:
    """A page without FastAPI."""
    return JSONResponse({"plain": True})


async def plain_page(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(f"page {scope['path']}")(scope, receive, send)


starlette = Starlette(routes=[Route("/plain", plain)])
with_pages = Starlette(routes=[Route("/plain", plain), Mount("/", app=plain_page)])
not_an_app = object()
