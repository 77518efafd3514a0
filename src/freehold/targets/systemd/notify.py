"""Tells systemd that what it started is ready, or ends: one datagram, without a library."""

from __future__ import annotations

import contextlib
import socket

from freehold.config import env


def is_listening() -> bool:
    """Whether systemd started us, so that what we print is kept in its journal."""
    return env.get("NOTIFY_SOCKET") is not None


def ready() -> None:
    """`systemctl start` returns now."""
    _send("READY=1")


def stopping() -> None:
    """It ends because somebody wanted so."""
    _send("STOPPING=1")


def _send(text: str) -> None:
    """Nothing happens where systemd did not start us; where it does not listen, that is no reason to end."""
    address = env.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(text.encode())
