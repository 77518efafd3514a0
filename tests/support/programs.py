"""Tiny programs for the supervisor to run: each does one thing a real service might do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from freehold.stack.service import Health
from freehold.targets.native.process import Process, Rendered

#: Answers PING on a socket like Valkey does, and writes down when it started and was told to stop.
_SERVER = """
import os, signal, socket, sys
name, path, journal, stubborn = sys.argv[1:]
def note(what):
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{what} {name}\\n".encode())
    os.close(handle)
def stop(*_):
    note("stop")
    if not stubborn: os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("start")
print(name, "runs", flush=True)
listener = socket.socket(socket.AF_UNIX)
if os.path.exists(path): os.unlink(path)
listener.bind(path)
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(b"+PONG\\r\\n")
    connection.close()
"""


def server(name: str, folder: Path, *, needs: tuple[str, ...] = (), stubborn: bool = False, **more: Any) -> Process:
    """A service that answers; `stubborn`: it ignores the request to stop. Its journal is `<folder>/journal`."""
    argv = (sys.executable, "-c", _SERVER, name, str(folder / f"{name}.sock"), str(folder / "journal"), "stubborn" if stubborn else "")
    return process(name, argv, health=Health("valkey", str(folder / f"{name}.sock")), needs=needs, **more)


def code(name: str, source: str, **more: Any) -> Process:
    """A program of a few lines of Python."""
    return process(name, (sys.executable, "-c", source), **more)


def process(name: str, argv: tuple[str, ...], **more: Any) -> Process:
    defaults: dict[str, Any] = {
        "service": name,
        "kind": "server",
        "about": name,
        "env": {},
        "environment": "minimal",
        "cwd": "/",
        "folders": (),
        "health": Health("alive"),
        "needs": (),
        "restarts": True,
        "stop_signal": "SIGTERM",
        "grace_seconds": 5.0,
    }
    return Process(name=name, argv=argv, **{**defaults, **more})


def stack(*processes: Process) -> Rendered:
    return Rendered("test", "1", "fingerprint", "http://127.0.0.1:1", processes)


def journal(folder: Path) -> list[str]:
    """`["start a", "start b", "stop b"]`"""
    path = folder / "journal"
    return path.read_text().splitlines() if path.exists() else []
