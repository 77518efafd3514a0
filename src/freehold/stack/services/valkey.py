"""Valkey: streams of running answers and wake-ups. On one machine on a Unix socket only; appends reach the disk within a second.

What may be lost is kept in a second one, `cache`, since whether anything is evicted is set for a whole server.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold.core.machine import GIB
from freehold.stack.deployment import Deployment
from freehold.stack.service import File, Health, Limits, Port, Secret, Service, Volume

#: Of the machine's memory: beyond it Valkey refuses what is written, which workers try again, instead of taking the memory of models.
SHARE = 1 / 4

#: And not more: streams are kept for minutes, a quarter of a large machine would never fill.
MOST = 4 * GIB

#: The same of the cache, where there is one.
CACHE_SHARE = 1 / 32

#: Beside what it keeps: buffers of clients, the copy while it rewrites its log.
OVERHEAD = 1.5

#: Read before the options, where there is a password.
CONFIGURATION = "${files}/valkey.conf"


def service(deployment: Deployment) -> Service:
    native = deployment.settings.stack.target == "native"
    most = min(int(deployment.machine.memory_bytes * SHARE), MOST)
    where = (
        {"port": "0", "unixsocket": "${sockets:valkey}/valkey.sock", "unixsocketperm": "700"}
        if native
        else {"port": "6379", "bind": "${listen}", "protected-mode": "no"}  # its password protects it
    )
    options = {
        **where,
        "dir": "${data:valkey}",
        "save": "",  # the log below is enough; a snapshot that fails would stop all writing
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
        args=_arguments(options) if native else (CONFIGURATION, *_arguments(options)),
        files=() if native else (_password_file("valkey"),),
        volumes=(Volume("valkey", "streams of running answers, caches"),),
        ports=() if native else (Port(6379, "", "redis.url"),),
        health=Health("valkey", "${sockets:valkey}/valkey.sock" if native else "${address:valkey}"),
        networks=("data",),
        limits=Limits(int(most * OVERHEAD)),
        grace_seconds=20,
        about="Valkey",
    )


def cache(deployment: Deployment) -> Service:
    """A second Valkey for what can be computed anew: nothing reaches the disk, and the least used goes first. Containers only."""
    most = int(deployment.machine.memory_bytes * CACHE_SHARE)
    options = {
        "port": "6379",
        "bind": "${listen}",
        "protected-mode": "no",
        "save": "",
        "appendonly": "no",
        "maxmemory": str(most),
        "maxmemory-policy": "allkeys-lru",
        "daemonize": "no",
        "loglevel": "notice",
    }
    return Service(
        name="cache",
        program="valkey",
        args=(CONFIGURATION, *_arguments(options)),
        files=(_password_file("cache"),),
        secrets=(Secret("cache", "generated", "password of the cache"),),
        ports=(Port(6379, "", "redis.url"),),
        health=Health("valkey", "${address:cache}"),
        networks=("data",),
        limits=Limits(int(most * OVERHEAD)),
        grace_seconds=10,
        about="Valkey, for caches",
    )


def _password_file(secret: str) -> File:
    return File("valkey.conf", f"requirepass ${{secret:{secret}}}\n")


def _arguments(options: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))
