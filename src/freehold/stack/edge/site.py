"""What the edge of a deployment serves, under which names and from which services: settings and planned services as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freehold.config.section import LOOPBACK_HOSTS
from freehold.config.settings import Settings
from freehold.stack.deployment import has
from freehold.stack.service import Service

#: Names that mean this machine, where no others are set.
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

#: Where services of a Compose file see one another: the server is reached from there alone.
_CONTAINER_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_LOOPBACK_NETWORKS = ("127.0.0.1/32", "::1/128")

#: Ports where none are set, natively and in containers: below 1024 takes rights that an ordinary user has not.
_PORTS = {"native": 8443, "compose": 443}
_REDIRECT_PORTS = {"native": 8880, "compose": 80}


@dataclass(frozen=True)
class Shown:
    """A service of others that the edge shows under a host name or port of its own."""

    service: str
    #: None: on every name of the edge, at `port`.
    name: str | None
    port: int
    #: Whether it checks by itself who is there; else a key of the server with the scope "admin" is needed.
    own_login: bool


@dataclass(frozen=True)
class Site:
    """All that nginx.conf is made from."""

    #: Host names of the main server, e.g. `("localhost", "127.0.0.1", "[::1]")`.
    names: tuple[str, ...]
    port: int
    redirect_port: int
    #: Services behind `/models/v1` and names or ports of their own.
    gateway: bool
    #: Whether the gateway takes the server's keys, which are then checked before it; with a database it has keys of its own.
    gateway_takes_our_keys: bool
    shown: tuple[Shown, ...]
    #: Whether name and password are asked for.
    basic: bool
    #: Seconds of Strict-Transport-Security; 0: it is not told.
    hsts_seconds: int
    #: Bytes of a request body, and of an upload to Open WebUI.
    body_bytes: int
    upload_bytes: int
    requests_per_second: float
    requests_at_once: int
    key_requests_per_second: float
    key_requests_at_once: int
    connections: int
    stream_seconds: int
    trusted_proxies: tuple[str, ...]
    #: Names of services are looked up again and again, as their addresses change: containers.
    resolver: str | None
    #: Port of stub_status, where the program has it.
    status_port: int | None

    @property
    def host_suffix(self) -> str:
        """What clients write after the host name: `":8443"`, or nothing for the usual port."""
        return "" if self.port == 443 else f":{self.port}"


def host(settings: Settings) -> str:
    """Address that the edge listens on, natively, or is published on."""
    if settings.edge.host:
        return settings.edge.host
    others_may = settings.stack.target != "native" and settings.edge.names  # under what name would they come?
    return "0.0.0.0" if others_may else "127.0.0.1"  # noqa: S104 - the one service that is meant to be reached


def port(settings: Settings) -> int:
    return settings.edge.port or _PORTS[settings.stack.target]


def redirect_port(settings: Settings) -> int:
    return settings.edge.redirect_port or _REDIRECT_PORTS[settings.stack.target]


def names(settings: Settings) -> tuple[str, ...]:
    """Host names of the main server. This machine's own are served too where the edge listens there alone."""
    local = LOCAL_NAMES if host(settings) in LOOPBACK_HOSTS or not settings.edge.names else ()
    return tuple(dict.fromkeys((*settings.edge.names, *local)))


def public_urls(settings: Settings) -> tuple[str, ...]:
    """URLs of the main server as browsers write them; the first one stands in links."""
    suffix = "" if port(settings) == 443 else f":{port(settings)}"
    return tuple(f"https://{name}{suffix}" for name in names(settings))


def origins_of(settings: Settings, service: str) -> tuple[str, ...]:
    """Origins under which browsers find another service through the edge, e.g. `https://chat.example.com`; empty where they do not."""
    if not has(settings, "edge"):
        return ()
    suffix = "" if port(settings) == 443 else f":{port(settings)}"
    if service == "webui":
        own = settings.edge.webui_name
        return (f"https://{own}{suffix}",) if own else tuple(f"https://{name}:{settings.edge.webui_port}" for name in names(settings))
    return (f"https://{service}.{settings.edge.names[0]}{suffix}",) if service in settings.edge.expose else ()


def is_private(settings: Settings) -> bool:
    """Whether the edge is reached from this machine alone."""
    return host(settings) in LOOPBACK_HOSTS and not settings.edge.names


def behind_edge(settings: Settings) -> Settings:
    """The settings of a server behind the edge: whom it believes, what it is called, and that it needs keys where others reach it."""
    server, contained = settings.server, settings.stack.target != "native"
    auth = server.auth
    if auth == "auto":
        open_door = not contained and server.is_loopback and (is_private(settings) or settings.edge.auth == "basic")
        auth = "none" if open_door else "keys"
    told = server.model_copy(
        update={
            "auth": auth,
            "public_urls": tuple(dict.fromkeys((*server.public_urls, *public_urls(settings)))),
            "trusted_proxies": (*server.trusted_proxies, *(_CONTAINER_NETWORKS if contained else _LOOPBACK_NETWORKS)),
        }
    )
    return settings.model_copy(update={"server": told})


def site(settings: Settings, others: Iterable[Service]) -> Site:
    """What is served for these settings, from these services."""
    present = {service.name for service in others}
    edge, contained = settings.edge, settings.stack.target != "native"
    return Site(
        names=names(settings),
        port=port(settings),
        redirect_port=redirect_port(settings),
        gateway="gateway" in present,
        gateway_takes_our_keys=not contained,
        shown=tuple(_shown(settings, present)),
        basic=edge.auth == "basic",
        hsts_seconds=0 if edge.tls == "self-signed" else edge.hsts_days * 86400,
        body_bytes=int(settings.limits.request_body_mb * 1024**2),
        upload_bytes=int(max(settings.limits.request_body_mb, settings.knowledge.max_file_mb) * 1024**2),
        requests_per_second=edge.requests_per_second,
        requests_at_once=edge.requests_at_once,
        key_requests_per_second=edge.key_requests_per_second,
        key_requests_at_once=edge.key_requests_at_once,
        connections=edge.connections,
        stream_seconds=edge.stream_seconds,
        trusted_proxies=edge.trusted_proxies,
        resolver="127.0.0.11" if contained else None,
        status_port=STATUS_PORT if contained else None,
    )


#: Where nginx tells how many connections it has, inside its container.
STATUS_PORT = 8090


def _shown(settings: Settings, present: set[str]) -> Iterable[Shown]:
    edge = settings.edge
    if "webui" in present:
        yield Shown("webui", edge.webui_name, port(settings) if edge.webui_name else edge.webui_port, own_login=True)
    for dashboard in edge.expose:
        if dashboard in present:
            yield Shown(dashboard, f"{dashboard}.{edge.names[0]}", port(settings), own_login=False)
