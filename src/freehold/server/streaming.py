"""A response written piece by piece that notices when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, nullcontext, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.telemetry.metrics import OPEN_STREAMS

EVENT_STREAM = "text/event-stream"

#: For routes that answer with one.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}

#: Silence after which we say something.
HEARTBEAT_SECONDS = 8.0

#: Proxies must neither keep nor gather what we send.
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Silence:
    """The silence on one connection, so that something is said before a proxy or client gives it up."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    def broken(self) -> None:
        """Something was said."""
        self._since = self._clock()

    def too_long(self) -> bool:
        """Whether something should be said now; then the silence begins anew."""
        if self._clock() - self._since < HEARTBEAT_SECONDS:
            return False
        self.broken()
        return True


class Streamed(Response):
    """Sends the pieces as they come, headers at once. When the client leaves first, `on_disconnect` is called."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str = EVENT_STREAM,
        headers: Mapping[str, str] | None = None,
        on_disconnect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._pieces = pieces
        self._on_disconnect = on_disconnect
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers({**UNBUFFERED, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_until_disconnect(receive))
        try:
            with OPEN_STREAMS.track_inprogress() if self.media_type == EVENT_STREAM else nullcontext():
                await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
                left_early = not writing.done()
        finally:
            await _end(leaving)
            finished = await _end(writing)
        if left_early and self._on_disconnect:
            await self._on_disconnect()
        if finished is not None:
            raise finished

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._pieces) as pieces:  # also when the client leaves while a piece is being sent
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> BaseException | None:
    """Stop a task and wait for it; gives the exception it failed with, if any."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return None if task.cancelled() else task.exception()
