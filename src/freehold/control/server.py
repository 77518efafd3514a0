"""The supervisor's side of the control socket. Only its own user can connect: the folder is 0700 and the socket 0600."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from freehold.control.protocol import MAX_LINE, REPLY, REQUEST, Refused, Reply, Request

log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def listening(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer requests while the block runs; a socket that a crash left behind is replaced."""
    _remove(path)
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(lambda reader, writer: _serve(reader, writer, answer), str(path), limit=MAX_LINE)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    try:
        while line := await reader.readline():
            writer.write(REPLY.dump_json(await _reply(line, answer)) + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError) as error:  # ValueError: a line over the limit
        log.debug("a control connection ended: %s", error)
    finally:
        writer.close()


async def _reply(line: bytes, answer: Answer) -> Reply:
    try:
        request = REQUEST.validate_json(line)
    except ValueError as error:
        return Refused(f"not a request: {error}")
    return await answer(request)
