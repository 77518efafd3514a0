"""A real HTTP server on loopback that serves files with ranges, and can be told to misbehave the ways servers do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from freehold.core.progress import Unit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FileServer:
    """Files by path, e.g. `{"/repo/resolve/main/model.gguf": b"…"}`."""

    files: dict[str, bytes] = field(default_factory=dict)
    #: Bytes of body after which each successive answer breaks off; used up one by one.
    cuts: list[int] = field(default_factory=list)
    #: Bytes of body after which the next answer goes silent, once.
    stall_after: int | None = None
    #: Statuses the next answers have, used up one by one.
    statuses: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    token: str | None = None
    #: Accept connections and never say anything.
    silent: bool = False
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _read(reader):
                self.asked.append(request)
                if self.silent:
                    await asyncio.sleep(3600)
                if not await self._respond(request, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _respond(self, request: Asked, writer: asyncio.StreamWriter) -> bool:
        if self.statuses:
            return await _send(writer, self.statuses.pop(0), {}, b"")
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return await _send(writer, 401, {}, b"")
        content = self.files.get(request.path)
        if content is None:
            return await _send(writer, 404, {}, b"")
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start, status, headers = 0, 200, {"ETag": tag}
        wanted = request.headers.get("range", "")
        if self.knows_ranges and wanted and request.headers.get("if-range", tag) == tag:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                return await _send(writer, 416, {}, b"")
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if request.method == "HEAD":
            return await _send(writer, status, headers, b"", length=len(body))
        if self.stall_after is not None:
            stall, self.stall_after = self.stall_after, None
            await _send(writer, status, headers, body[:stall], length=len(body))
            await asyncio.sleep(3600)
        if self.cuts:
            await _send(writer, status, headers, body[: self.cuts.pop(0)], length=len(body))
            return False
        return await _send(writer, status, headers, body)


@asynccontextmanager
async def serving(files: dict[str, bytes] | None = None) -> AsyncIterator[FileServer]:
    """A file server until the block ends."""
    server = FileServer(files or {})
    connections: set[asyncio.Task[Any]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.answer(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return Asked(method, path.partition("?")[0], {name.lower(): value for name, value in headers.items()})


async def _send(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: bytes, *, length: int | None = None) -> bool:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return True


class Watched:
    """A Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.labels: list[str] = []
        self.notes: list[str] = []
        #: Bytes or items done, per label, with what was there at the start.
        self.done: dict[str, float] = {}
        self.started_at: dict[str, float] = {}
        self.totals: dict[str, float | None] = {}
        self.moved = asyncio.Event()

    @contextmanager
    def step(self, label: str, *, total: float | None = None, unit: Unit = "items", done: float = 0) -> Any:
        self.labels.append(label)
        self.done[label] = self.started_at[label] = done
        self.totals[label] = total
        yield _Step(self, label)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class _Step:
    watched: Watched
    label: str

    def advance(self, amount: float) -> None:
        self.watched.done[self.label] += amount
        if amount > 0:
            self.watched.moved.set()

    def note(self, text: str) -> None:
        self.watched.notes.append(text)
