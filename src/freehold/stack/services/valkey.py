"""Valkey: streams of running answers, wake-ups and caches. On a Unix socket only; appends reach the disk within a second."""

from __future__ import annotations

from freehold.core.machine import Machine
from freehold.stack.service import Health, Service, Volume

#: Of the machine's memory: beyond it Valkey refuses what is written, which workers try again, instead of taking the memory of models.
SHARE = 1 / 4


def service(machine: Machine) -> Service:
    options = {
        "port": "0",
        "unixsocket": "${sockets:valkey}/valkey.sock",
        "unixsocketperm": "700",
        "dir": "${data:valkey}",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": str(int(machine.memory_bytes * SHARE)),
        "maxmemory-policy": "noeviction",  # evicting a stream would tear a hole into a running answer
        "daemonize": "no",
        "loglevel": "notice",
    }
    return Service(
        name="valkey",
        program="valkey",
        args=tuple(part for name, value in options.items() for part in (f"--{name}", value)),
        volumes=(Volume("valkey", "streams of running answers, caches"),),
        health=Health("valkey", "${sockets:valkey}/valkey.sock"),
        grace_seconds=20,
        about="Valkey",
    )
