"""MCP over streamable HTTP, without sessions: every request stands for itself, so any server process may answer it.

A tool call is a run without a thread. Its client waits for it: when it leaves, the run is stopped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, GraphError, InvalidRequest, NotFound
from freehold.core.run import Run, RunRequest
from freehold.server import errors, sse
from freehold.server.auth import Authenticated, Authentication
from freehold.server.follow import RunFollower
from freehold.server.json_body import JsonRoute
from freehold.server.json_rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Call, RpcError, answered, failed, read_call
from freehold.server.launch import launch
from freehold.server.mcp.protocol import Dialect, dialect_of, discovered, initialized
from freehold.server.mcp.tools import PAGE, InputSchemas, find_tool, refused, result_of, tools_of
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import JSON, nothing, reply
from freehold.server.streaming import EVENT_STREAM, Silence, Streamed
from freehold.server.watch import cancel_quietly, run_path
from freehold.storage.runs import Target

router = APIRouter(route_class=JsonRoute, tags=["MCP"])

_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object", "required": ["jsonrpc", "method"]}}}}}


@dataclass(frozen=True)
class Exchange:
    """One request and all it takes to answer it."""

    request: Request
    parts: ServerParts
    caller: Caller
    call: Call
    dialect: Dialect
    #: Whether the answer is an event stream, where it takes a while.
    streams: bool

    async def allowed(self, resource: Any, action: Any, offered: dict[str, Any]) -> Caller:
        authentication = cast(Authentication, self.request.app.state.authentication)
        return await authentication.allow(self.request, self.caller, resource, action, offered)

    def reply(self, result: Mapping[str, Any]) -> Response:
        return reply(answered(self.call.id, self.dialect.result(result)))


@router.post("/mcp", response_model=dict[str, Any], openapi_extra=_BODY)
@router.post("/mcp/", include_in_schema=False)
async def mcp(request: Request, caller: Authenticated, parts: Parts) -> Response:
    """One message of the Model Context Protocol: initialize, ping, tools/list, tools/call, server/discover or a notification."""
    dialect, call = Dialect(modern=True), Call("", {})  # until it is known: what is no call at all has a status code in each
    try:
        streams = _wants_stream(request.headers.get("accept", ""))
        call = await read_call(request)
        dialect = dialect_of(call)
        if call.is_response or call.is_notification:
            return nothing(202)  # nothing is going on that one could tell: a call is stopped by leaving it
        method = _METHODS.get(call.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f'no method "{call.method[:100]}"')
        return await method(Exchange(request, parts, caller, call, dialect, streams))
    except RpcError as error:
        return reply(failed(call.id, error), status=dialect.status(error))


@router.get("/mcp", include_in_schema=False)
async def no_stream(caller: Authenticated) -> Response:
    """There is nothing to listen to outside of a call."""
    response = errors.respond(405, "nothing is sent outside of a call", "method_not_allowed", "POST one message")
    response.headers["Allow"] = "POST"
    return response


@router.delete("/mcp", include_in_schema=False)
async def no_session(caller: Authenticated) -> Response:
    """There is no session to end."""
    raise NotFound("there are no sessions")


def _wants_stream(accept: str) -> bool:
    """Whether the client reads event streams. Raises RpcError where it reads neither them nor JSON."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")} - {""}
    if EVENT_STREAM in kinds:
        return True
    if kinds and not kinds & {JSON, "application/*", "*/*"}:
        raise InvalidRequest(f"accept: expected {JSON} or {EVENT_STREAM}")
    return False


async def _initialize(exchange: Exchange) -> Response:
    return exchange.reply(initialized(exchange.call))


async def _discover(exchange: Exchange) -> Response:
    return reply(answered(exchange.call.id, exchange.dialect.listed(discovered())))


async def _ping(exchange: Exchange) -> Response:
    return exchange.reply({})


async def _list_tools(exchange: Exchange) -> Response:
    offset = _offset(exchange.call)
    caller = await exchange.allowed("assistants", "search", {"metadata": {}, "limit": PAGE, "offset": offset})
    tools, total = await tools_of(exchange.parts, caller, limit=PAGE, offset=offset)
    known = cast(InputSchemas, exchange.request.app.state.input_schemas)
    shown = [await known.shown(exchange.parts, tool) for tool in tools]
    page: dict[str, Any] = {"tools": [tool for tool in shown if tool]}
    if offset + PAGE < total:
        page["nextCursor"] = str(offset + PAGE)
    return reply(answered(exchange.call.id, exchange.dialect.listed(page)))


def _offset(call: Call) -> int:
    cursor = call.text("cursor", wanted=False) if call.params.get("cursor") is not None else ""
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 7):
        raise RpcError(INVALID_PARAMS, "params.cursor: not one of ours")
    return int(cursor or 0)


async def _call_tool(exchange: Exchange) -> Response:
    name, arguments = exchange.call.text("name"), exchange.call.params.get("arguments")
    if not isinstance(arguments, dict | None):
        raise RpcError(INVALID_PARAMS, "params.arguments: expected an object")
    offered: dict[str, Any] = {"assistant_id": name, "metadata": {}, "kwargs": {"input": arguments or {}, "config": {"configurable": {}}}}
    caller = await exchange.allowed("threads", "create_run", offered)
    found = await find_tool(exchange.parts, caller, name)
    if found is None:
        raise RpcError(INVALID_PARAMS, f'Unknown tool: "{name[:100]}"')
    try:
        request = RunRequest(input=arguments or {}, metadata=offered["metadata"], on_completion="delete")
        run = await launch(exchange.parts, caller, Target(*found, temporary=True), request)
    except (InvalidRequest, GraphError) as error:
        return exchange.reply(refused(error))
    return _until_done(exchange, run)


def _until_done(exchange: Exchange, run: Run) -> Streamed:
    return Streamed(
        _pieces(exchange, run),
        media_type=EVENT_STREAM if exchange.streams else JSON,
        headers={"Content-Location": run_path(run)},
        on_disconnect=partial(cancel_quietly, exchange.parts, run),
    )


async def _pieces(exchange: Exchange, run: Run) -> AsyncGenerator[bytes, None]:
    follower = RunFollower(exchange.parts, run, end_only=True)
    silence, told = Silence(), 0
    async with aclosing(follower.batches()) as batches:
        async for _ in batches:
            if silence.too_long():
                told += 1
                yield _sign_of_life(exchange, told)
    assert follower.ending is not None
    try:
        message = answered(exchange.call.id, exchange.dialect.result(result_of(follower.ending)))
    except FreeholdError as error:
        message = failed(exchange.call.id, error)
    yield sse.frame("message", to_json(message)) if exchange.streams else to_json(message)


def _sign_of_life(exchange: Exchange, told: int) -> bytes:
    """Progress where the client asked for it, so that it goes on waiting; else what keeps the connection open."""
    if not exchange.streams:
        return b"\n"
    meta = exchange.call.params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if token is None:
        return sse.HEARTBEAT
    progress = {"progressToken": token, "progress": told, "message": "the agent is at work"}
    return sse.frame("message", to_json({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}))


_METHODS: Mapping[str, Callable[[Exchange], Awaitable[Response]]] = {
    "initialize": _initialize,
    "server/discover": _discover,
    "ping": _ping,
    "tools/list": _list_tools,
    "tools/call": _call_tool,
}
