"""The command line's side of the control socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from freehold.control.protocol import (
    MAX_LINE,
    REPLY,
    REQUEST,
    AskRestart,
    AskRestartTogether,
    AskStatus,
    AskStop,
    Refused,
    Reply,
    Request,
    StackStatus,
)
from freehold.core.errors import Conflict, Incompatible, TimedOut, Unhealthy

#: A worker first finishes what it can within the grace time it was set, a database writes everything to disk.
_RESTART_SECONDS = 600


async def status(socket: Path) -> StackStatus:
    """How everything is.

    Raises:
        Unhealthy: no supervisor answers.
    """
    reply = await ask(socket, AskStatus())
    if not isinstance(reply, StackStatus):
        raise Incompatible("the supervisor answered something else than a status", hint="`freehold down`, then `freehold up`")
    return reply


async def stop(socket: Path) -> None:
    """Ask for an orderly end; returns once it is accepted, not when all has ended."""
    await ask(socket, AskStop())


async def restart(socket: Path, service: str) -> None:
    """Ask for a restart of one service; returns once what ran has ended.

    Raises:
        Conflict: there is no such service, or the stack is stopping.
    """
    await ask(socket, AskRestart(service), timeout_seconds=_RESTART_SECONDS)


async def restart_together(socket: Path, processes: Sequence[str]) -> None:
    """Ask for a restart of several processes as one; returns once all of them have ended. The supervisor sees it through.

    Args:
        processes: in the order in which they start; each waits for the one before it.

    Raises:
        Conflict: there is no such process, or the stack is stopping.
    """
    await ask(socket, AskRestartTogether(tuple(processes)), timeout_seconds=_RESTART_SECONDS)


async def ask(socket: Path, request: Request, *, timeout_seconds: float = 10) -> Reply:
    """One request and its reply.

    Raises:
        Unhealthy: no supervisor listens.
        Conflict: it refused.
        TimedOut: it listens but does not answer.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            line = await _exchange(socket, REQUEST.dump_json(request) + b"\n")
    except TimeoutError as error:
        raise TimedOut("the supervisor does not answer", hint="`freehold logs supervisor` says what it does") from error
    except OSError as error:
        raise Unhealthy("no stack is running here", hint="start one with `freehold up`") from error
    if not line:
        raise Unhealthy("the supervisor ended while it was asked", hint="`freehold status` says what is running")
    try:
        reply = REPLY.validate_json(line)
    except ValueError as error:
        raise Incompatible("the running stack is of another version", hint="`freehold down`, then `freehold up`") from error
    if isinstance(reply, Refused):
        raise Conflict(reply.message)
    return reply


async def _exchange(socket: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=MAX_LINE)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
