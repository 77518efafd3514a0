"""Valkey: streams of running answers, wake-ups and caches. On one machine on a Unix socket only; appends reach the disk within a second."""

from __future__ import annotations

from freehold.stack.deployment import Deployment
from freehold.stack.service import Health, Limits, Port, Service, Volume

#: Of the machine's memory: beyond it Valkey refuses what is written, which workers try again, instead of taking the memory of models.
SHARE = 1 / 4


#: Beside what it keeps: buffers of clients, the copy while it rewrites its log.
OVERHEAD = 1.5


def service(deployment: Deployment) -> Service:
    native = deployment.settings.stack.target == "native"
    most = int(deployment.machine.memory_bytes * SHARE)
    where = (
        {"port": "0", "unixsocket": "${sockets:valkey}/valkey.sock", "unixsocketperm": "700"}
        if native
        else {"port": "6379", "bind": "${listen}", "protected-mode": "no"}
    )
    options = {
        **where,
        "dir": "${data:valkey}",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": str(most),
        "maxmemory-policy": "noeviction",  # evicting a stream would tear a hole into a running answer
        "daemonize": "no",
        "loglevel": "notice",
    }
    return Service(
        name="valkey",
        program="valkey",
        args=tuple(part for name, value in options.items() for part in (f"--{name}", value)),
        volumes=(Volume("valkey", "streams of running answers, caches"),),
        ports=() if native else (Port(6379, "", "redis.url"),),
        health=Health("valkey", "${sockets:valkey}/valkey.sock" if native else "${address:valkey}"),
        networks=("data",),
        limits=Limits(int(most * OVERHEAD)),
        grace_seconds=20,
        about="Valkey",
    )
