"""The server itself: is it up, what is it, what does it offer, how is it doing."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from freehold import __version__
from freehold.core.encode import to_json
from freehold.core.errors import NotFound, NotSupported, StorageUnavailable
from freehold.server.agents import TalkingAgents
from freehold.server.auth import Authenticated
from freehold.server.home_page import home_page
from freehold.server.openapi import described
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import JSON, reply
from freehold.telemetry.metrics import ACTIVE_THREADS, CHECKPOINT_BYTES, KNOWLEDGE_BYTES, QUEUE_AGE, QUEUE_DEPTH, UNKNOWN, exposition

router = APIRouter(tags=["system"])

#: Seconds a service may take to answer a health check.
CHECK_SECONDS = 3.0
#: The same for what the database tells of the queue: whoever asks for metrics may be gone after two.
MEASURE_SECONDS = 1.0

#: What clients may rely on; the SDKs and UIs read these names.
FLAGS = {"assistants": True, "crons": True, "langsmith": False, "langsmith_tracing_replicas": False, "strict_resume": True}

#: Pages load nothing from elsewhere.
PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


@router.get("/", response_model=None)
@router.head("/", include_in_schema=False)
async def home(request: Request, parts: Parts, agents: TalkingAgents) -> Response:
    """A page for people, `{"ok": true}` for programs."""
    if "text/html" in request.headers.get("accept", ""):
        return Response(
            home_page(parts, await agents.list(), host=request.headers.get("host", "")), headers=PAGE_POLICY, media_type="text/html"
        )
    return reply({"ok": True})


@router.get("/ok", response_model=dict[str, Any])
@router.head("/ok", include_in_schema=False)
async def ok(request: Request, parts: Parts, check_db: bool = False) -> Response:
    """Whether the server answers; with `check_db` whether its services do too."""
    return await _health(parts) if check_db and not request.app.state.http.disable_meta else reply({"ok": True})


@router.get("/health", response_model=dict[str, Any])
@router.head("/health", include_in_schema=False)
async def health(parts: Parts) -> Response:
    """Whether the server and the services it needs answer; 503 where not."""
    return await _health(parts)


@router.get("/info", response_model=dict[str, Any])
async def info(caller: Authenticated, request: Request, parts: Parts) -> Response:
    """Versions and what is supported."""
    state = request.app.state
    if not hasattr(state, "info"):
        state.info = to_json(_info(parts))
    return Response(state.info, media_type=JSON)


def _info(parts: ServerParts) -> dict[str, Any]:
    return {
        "version": __version__,
        "langgraph_py_version": version("langgraph"),
        "flags": FLAGS,
        "host": {"kind": "self-hosted", "project_id": None, "host_revision_id": None, "revision_id": None, "tenant_id": None},
        "graphs": list(parts.graphs.graphs),
        "broken_graphs": {graph_id: error.message for graph_id, error in parts.graphs.failures.items()},
    }


@router.get("/metrics", response_model=None)
async def metrics(caller: Authenticated, parts: Parts, format: str = "prometheus") -> Response:
    """Prometheus metrics."""
    if format != "prometheus":
        raise NotSupported(f'metrics format "{format[:40]}" is not supported by this version', hint="leave format out for Prometheus text")
    await _measure_queue(parts)
    return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, caller: Authenticated) -> Response:
    """The OpenAPI document of what is served, made once."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        project = state.authentication.project
        state.openapi = to_json(described(request.app.openapi(), project.openapi if project else None))
    return Response(state.openapi, media_type=JSON)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request, caller: Authenticated) -> Response:
    """The API to read and try, with assets of our own."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Freehold API",
        swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs/favicon-32x32.png",
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers.update(PAGE_POLICY)
    return page


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str, caller: Authenticated) -> Response:
    """A file of Swagger UI, from the package that carries it."""
    if asset not in {"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"}:
        raise NotFound(f"no such file: {asset[:100]}")
    return FileResponse(str(files("fastapi_swagger") / "resources" / asset), headers={"Cache-Control": "max-age=86400"})


async def _measure_queue(parts: ServerParts) -> None:
    """What only the database can tell. While it does not answer, the other metrics are needed more than ever."""
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            queue = await parts.runs.queue()
    except (StorageUnavailable, TimeoutError):
        for gauge in (QUEUE_DEPTH, QUEUE_AGE, ACTIVE_THREADS, CHECKPOINT_BYTES, KNOWLEDGE_BYTES):
            gauge.set(UNKNOWN)
        return
    QUEUE_DEPTH.set(queue.depth)
    QUEUE_AGE.set(queue.age_seconds)
    ACTIVE_THREADS.set(queue.active_threads)
    CHECKPOINT_BYTES.set(queue.checkpoint_bytes)
    KNOWLEDGE_BYTES.set(queue.knowledge_bytes)


async def _health(parts: ServerParts) -> Response:
    postgres, valkey = await asyncio.gather(_postgres_answers(parts), _valkey_answers(parts))
    well = postgres and valkey
    services = {"postgres": "ok" if postgres else "unavailable", "valkey": "ok" if valkey else "unavailable"}
    return reply({"ok": well, "services": services}, status=200 if well else 503)


async def _postgres_answers(parts: ServerParts) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await parts.runs.ping()
    except (StorageUnavailable, TimeoutError):
        return False
    return True


async def _valkey_answers(parts: ServerParts) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await parts.events.ping()
    except (RedisError, TimeoutError):
        return False
    return True
