"""Whether the ports of a stack are free, and who holds those that are not: found before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

import psutil

from freehold.core.errors import ConfigError, Conflict
from freehold.stack.service import Port


def check(ports: Iterable[Port]) -> None:
    """Raises:
    Conflict: a port is taken; the message names it, its holder where that can be known, and what changes it.
    ConfigError: an address is not one of this machine.
    """
    for port in ports:
        problem = _try(port)
        if problem is None:
            continue
        if problem.errno == errno.EADDRINUSE:
            option = f"`--{port.option.removeprefix('--')} {_another(port)}` or " if port.option else ""
            raise Conflict(
                f"port {port.number} on {port.host} is taken{_by(holder(port.number))}",
                hint=f"end that program, or choose another port: {option}{port.setting} = {_another(port)} in freehold.toml",
            )
        raise ConfigError(
            f"{port.setting.split('.', maxsplit=1)[0]}.host: cannot listen on {port.host}:{port.number}: {problem.strerror}",
            hint="127.0.0.1 always works; ports below 1024 need rights",
        )


def holder(number: int) -> str | None:
    """`"nginx (pid 812)"` for the program that listens on a port, where the system lets us see it."""
    try:
        found = [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == number]
        pid = next((connection.pid for connection in found if connection.pid), None)
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else None
    except psutil.Error:
        return None


def _try(port: Port) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _by(name: str | None) -> str:
    return f" by {name}" if name else ""


def _another(port: Port) -> int:
    return port.number + 1 if port.number < 65535 else port.number - 1
