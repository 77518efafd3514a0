"""The network between a process and a server, with hands on it: it can fall silent for a while, lose what was under way, or reset.

A line carries TCP to a server's Unix socket. While it is silent, connections stay open and nothing comes through, and new ones
are accepted and get no answer, as where a firewall or a switch swallows packets. What TCP itself would notice after a while
(unanswered keep-alives) is not seen by the process: a line is the harsher network.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: SO_LINGER with no time to linger: closing sends a reset.
_AT_ONCE = struct.pack("ii", 1, 0)

CHUNK = 256 * 1024


class Line:
    """One process's way to one server. `async with` opens and closes it."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._answers_flowing = asyncio.Event()
        self._answers_flowing.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0, limit=CHUNK)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._flowing.set()
        self._answers_flowing.set()
        while self._carrying:
            self.reset()
            await asyncio.wait(self._carrying, timeout=0.1)

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @contextmanager
    def silent(self, *, answers_only: bool = False) -> Iterator[None]:
        """Nothing comes through; with `answers_only` what is asked still reaches the server. What was sent meanwhile comes late."""
        way = self._answers_flowing if answers_only else self._flowing
        way.clear()
        try:
            yield
        finally:
            way.set()

    def reset(self) -> None:
        """End all connections that are open now, and what was on its way is lost."""
        for end in list(self._ends):
            with suppress(OSError):
                sock = end.get_extra_info("socket")
                if sock and sock.family == socket.AF_INET:  # None: closed already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        self._ends.add(writer)
        try:
            await self._flowing.wait()
            with suppress(OSError):
                there_reader, there = await asyncio.open_unix_connection(str(self._path), limit=CHUNK)
                self._ends.add(there)
                try:
                    await asyncio.gather(self._pump(reader, there, answers=False), self._pump(there_reader, writer, answers=True))
                finally:
                    self._ends.discard(there)
                    there.transport.abort()
        finally:
            self._ends.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await self._flowing.wait()
                if answers:
                    await self._answers_flowing.wait()
                target.write(data)
                await target.drain()
        await self._flowing.wait()  # that the other end has gone is not heard either
        target.close()


class Network:
    """What one process sees of the servers: a line to Postgres and one to Valkey."""

    def __init__(self, postgres: Path, valkey: Path) -> None:
        self.postgres = Line(postgres)
        self.valkey = Line(valkey)

    async def __aenter__(self) -> Network:
        await self.postgres.__aenter__()
        await self.valkey.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.postgres.__aexit__()
        await self.valkey.__aexit__()
