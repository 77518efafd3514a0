"""Loads files in a process of its own, with limits: a hostile or broken file costs that file, never the ingest or the machine.

The process gets bytes on its standard input and answers on its standard output; it may use two gigabytes of memory, write no
file, and is ended when a file takes too long. `python -m freehold.rag.load.process` is its entry; nobody else starts it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from freehold.rag.load import Loaded, Section, Unreadable, load

_MAX_SECONDS = 120.0
_MAX_MEMORY_BYTES = 2 * 1024**3
_LENGTH = struct.Struct("!Q")


class LoaderProcess:
    """An asynchronous context manager; the process starts with the first file and anew after one that ended it."""

    def __init__(self, *, max_seconds: float = _MAX_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._process: Process | None = None

    async def __aenter__(self) -> LoaderProcess:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._end()

    async def load(self, data: bytes, kind: str) -> Loaded:
        """`freehold.rag.load.load`, one file at a time.

        Raises:
            Unreadable: also where the file took too long, or took the process down.
        """
        process = self._process = self._process or await _start()
        try:
            async with asyncio.timeout(self._max_seconds):
                answer = await _ask(process, data, kind)
        except TimeoutError as error:
            await self._end()
            raise Unreadable(f"took more than {self._max_seconds:g} seconds to read") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self._end()
            raise Unreadable("is damaged or needs too much memory: its reader died") from error
        except asyncio.CancelledError:
            await self._end()  # its answer would be taken for that of the next file
            raise
        return _decode(answer)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process and process.returncode is None:
            process.kill()
            await process.wait()


async def _start() -> Process:
    # Our module path and nothing else of the environment: the parser of untrusted files needs no passwords.
    environment = {"PYTHONPATH": os.pathsep.join(_module_path()), "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, "-P", "-m", __name__)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment)


def _module_path() -> list[str]:
    """Ours, without the folder we were called in: a `json.py` among the documents must not stand in for Python's own."""
    here, own = Path.cwd(), Path(__file__).parents[3]
    return [entry for entry in sys.path if entry and (Path(entry) == own or Path(entry).absolute() != here)]


async def _ask(process: Process, data: bytes, kind: str) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise ConnectionError("no pipes")
    for part in (kind.encode(), data):
        process.stdin.write(_LENGTH.pack(len(part)) + part)
    await process.stdin.drain()
    (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
    return await process.stdout.readexactly(length)


def _decode(answer: bytes) -> Loaded:
    payload = json.loads(answer)
    if "unreadable" in payload:
        raise Unreadable(payload["unreadable"], hint=payload["hint"])
    sections = tuple(Section(**section) for section in payload["sections"])
    return Loaded(sections, payload["title"], tuple(payload["notes"]))


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while (kind := _receive(requests)) is not None:
        answer = _answer(_receive(requests) or b"", kind.decode())
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _receive(requests: BinaryIO) -> bytes | None:
    head = requests.read(_LENGTH.size)
    return requests.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def _answer(data: bytes, kind: str) -> bytes:
    _limit_processor_time()
    try:
        payload = asdict(load(data, kind))
    except Unreadable as error:
        payload = {"unreadable": error.message, "hint": error.hint}
    except MemoryError:
        payload = {"unreadable": "needs too much memory", "hint": None}
    except Exception as error:  # noqa: BLE001 - the loop's top: parsers raise anything on damaged files
        payload = {"unreadable": f"is damaged: {type(error).__name__}: {str(error)[:200]}", "hint": None}
    return json.dumps(payload).encode()


def _limit_processor_time() -> None:
    # The parent ends a slow reader by the clock; this ends it where the parent itself was killed meanwhile.
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime + 2 * _MAX_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_resources() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # macOS does not enforce it
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    _limit_resources()
    _serve(sys.stdin.buffer, sys.stdout.buffer)
