"""Asking a service whether it does its work, with as little machinery as that takes: the supervisor stays small."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from freehold.stack.service import Health

#: Longest a single question may take, in seconds.
PATIENCE = 5.0

_PROTOCOL_3 = 196608


async def ask(health: Health) -> str | None:
    """None if the service is well, else why not, e.g. `"HTTP 503"`."""
    probe = _PROBES.get(health.probe)
    if probe is None:
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            return await probe(health.target)
    except TimeoutError:
        return f"no answer within {PATIENCE:.0f} s"
    except (OSError, asyncio.IncompleteReadError) as error:
        return "does not listen yet" if isinstance(error, (FileNotFoundError, ConnectionRefusedError)) else f"does not answer ({error})"
    except Exception as error:  # noqa: BLE001 - whatever a probe trips over is an answer; raised, it would end the watching
        return f"cannot be asked ({type(error).__name__}: {error})"


def forget(health: Health) -> None:
    """Before a process is started: what an earlier life of it said does not count."""
    if health.probe == "ready":
        Path(health.target).unlink(missing_ok=True)


async def _http(url: str) -> str | None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        words = (await reader.readline()).split()
    finally:
        writer.close()
    if len(words) < 2:
        return "closed the connection without an answer"
    return None if words[1] == b"200" else f"HTTP {words[1].decode(errors='replace')}"


async def _postgres(place: str) -> str | None:
    """Knock as a client does. A request for a password means it takes connections; an error names what it waits for."""
    name = place.rpartition("/")[2]
    socket = place if name.startswith(".s.PGSQL.") else f"{place}/.s.PGSQL.5432"
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        words = b"user\0freehold_app\0database\0" + (b"freehold" if socket == place else b"postgres") + b"\0\0"
        writer.write(struct.pack("!ii", 8 + len(words), _PROTOCOL_3) + words)
        kind = await reader.readexactly(1)
        if kind == b"R":
            return None
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        fields = (await reader.readexactly(min(length - 4, 4096))).split(b"\0")
    finally:
        writer.close()
    return next((field[1:].decode(errors="replace") for field in fields if field[:1] == b"M"), "refused a connection")


async def _valkey(path: str) -> str | None:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"PING\r\n")
        answer = (await reader.readline()).strip()
    finally:
        writer.close()
    return None if answer == b"+PONG" else answer.decode(errors="replace") or "closed the connection"


async def _ready(path: str) -> str | None:
    return None if _exists(path) else "does not take work yet"


def _exists(path: str) -> bool:
    return Path(path).exists()


_PROBES: Mapping[str, Callable[[str], Awaitable[str | None]]] = {
    "http": _http,
    "postgres": _postgres,
    "valkey": _valkey,
    "ready": _ready,
}
