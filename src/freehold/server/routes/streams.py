"""Streams of a whole thread: every run of it, also those that start later; and the event streaming protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, WebSocket
from starlette.requests import Request
from starlette.responses import Response

from freehold.core import sequence
from freehold.server import commands, sse
from freehold.server.auth import ThreadReader
from freehold.server.json_body import JsonRoute
from freehold.server.parts import Parts
from freehold.server.protocol_events import ProtocolFollower
from freehold.server.protocol_socket import ProtocolSocket
from freehold.server.reply import reply
from freehold.server.streaming import DOCUMENTED, Silence, Streamed
from freehold.server.thread_stream import ThreadStream
from freehold.server.wire.streams import Command, Subscription, thread_stream_modes

router = APIRouter(prefix="/threads/{thread_id}", route_class=JsonRoute, tags=["streams"])


@router.get("/stream", response_model=None, responses=DOCUMENTED)
async def stream_thread(
    thread_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    stream_modes: Annotated[list[str] | None, Query()] = None,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """Stream all runs of a thread; the connection stays open and shows those that start later."""
    modes = thread_stream_modes([*(stream_modes or ()), *(stream_mode or ())])
    cursor = sequence.parse(last_event_id)
    stream = ThreadStream(parts, caller, thread_id, modes, cursor, from_the_start=last_event_id in {"-1", "0", "0-0"})
    return Streamed((await stream.open()).pieces(), headers={"Location": f"/threads/{thread_id}/stream"})


@router.post("/stream/events", response_model=None, responses=DOCUMENTED)
async def stream_events(
    thread_id: UUID, body: Subscription, caller: ThreadReader, parts: Parts, last_event_id: Annotated[str, Header()] = ""
) -> Response:
    """Stream the events of a thread that a subscription asks for, after `since` or `Last-Event-ID`; else from the first that is kept."""
    since = max(body.since or 0, sum(sequence.parse(last_event_id)))
    await parts.threads.get(caller, thread_id)
    return Streamed(_event_pieces(ProtocolFollower(parts, caller, thread_id, body, since)))


@router.websocket("/stream/events")
async def socket(websocket: WebSocket, thread_id: UUID, parts: Parts) -> None:
    """The same, with commands, over one connection."""
    await ProtocolSocket(websocket, parts, thread_id).serve()


@router.post("/commands", response_model=None)
async def command(thread_id: UUID, body: Command, request: Request, parts: Parts) -> Response:
    """A command of the event streaming protocol; whatever it comes to, the status is 200."""
    if body.method in commands.SOCKET_METHODS:
        message = f"{body.method} needs a WebSocket; over HTTP, POST …/stream/events is a subscription"
        return reply(commands.refusal(body.id, "not_supported", message))
    return reply(await commands.answer(parts, request, thread_id, body))


async def _event_pieces(follower: ProtocolFollower) -> AsyncGenerator[bytes, None]:
    silence = Silence()
    async with aclosing(follower.batches()) as batches:
        async for batch in batches:
            if batch:
                yield b"".join(sse.frame(event.method, event.data, event.event_id) for event in batch)
                silence.broken()
            elif silence.too_long():
                yield sse.HEARTBEAT
