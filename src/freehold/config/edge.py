"""The `[edge]` section: the one door to a stack from outside."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from freehold.config.section import LOOPBACK_HOSTS, Port, PositiveInt, Section, http_url

#: Dashboards that may be shown under a host name of their own; each is the name of its service.
Dashboard = Literal["grafana", "prometheus", "alertmanager", "phoenix", "mlflow"]

_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


class EdgeSection(Section):
    host: str | None = None
    """Address it listens on; default: 127.0.0.1; with containers every address of the host once edge.names is set. Anything but
    loopback demands API keys."""
    port: Port | None = None
    """Port for HTTPS; default: 8443 on one machine, 443 with containers."""
    redirect_port: Port | None = None
    """Port for HTTP, where nothing is served but the way to HTTPS and ACME's challenges; default: 8880 on one machine, 80 with
    containers."""
    names: tuple[str, ...] = ()
    """Host names people use, e.g. ["agents.example.com"]; the first one stands in links. Default: localhost. Requests for others are
    refused."""
    webui_name: str | None = None
    """Host name of Open WebUI, e.g. "chat.example.com"; without one it has edge.webui_port."""
    webui_port: Port = 8444
    """Port for HTTPS of Open WebUI, where it has no host name of its own."""
    expose: tuple[Dashboard, ...] = ()
    """Dashboards that are shown to keys with the scope "admin", each under its own name below the first of edge.names, e.g.
    ["grafana"] at grafana.agents.example.com."""
    tls: Literal["self-signed", "files", "acme"] = "self-signed"
    """Where the certificate comes from: "self-signed" (made at the first start), "files" (edge.certificate and edge.key), or "acme"
    (asked of edge.acme_directory, and renewed)."""
    certificate: Path | None = None
    """PEM file with your certificate and those between it and its authority."""
    key: Path | None = None
    """PEM file with its private key."""
    acme_directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    """Directory of the certificate authority. Asking it means that you agree to its terms."""
    acme_email: str | None = None
    """Where the authority writes to."""
    acme_authority: Path | None = None
    """PEM file with the certificate that acme_directory itself is checked by, where it is one of your own."""
    auth: Literal["server", "basic"] = "server"
    """Who gets in: "server" (whom the agent server knows: server.auth), or "basic" (name and password of edge.users, before
    everything but /health and Open WebUI, which has its own)."""
    users: Path | None = None
    """File with names and hashed passwords for "basic"; `freehold edge user` writes it."""
    hsts_days: Annotated[int, Field(ge=0, le=3650)] = 365
    """Days that browsers shall use HTTPS only; never told with a self-signed certificate. 0: not told."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies in front of this one, whose X-Forwarded-For is believed, e.g. ["10.0.0.0/8"]."""
    requests_per_second: Annotated[float, Field(gt=0)] = 30
    """Requests that one address may send on the average; more is answered with 429."""
    requests_at_once: PositiveInt = 100
    """Requests that one address may send at once before that counts."""
    key_requests_per_second: Annotated[float, Field(gt=0)] = 60
    """The same for one credential, from wherever it is used."""
    key_requests_at_once: PositiveInt = 200
    """Requests that one credential may send at once before that counts."""
    connections: PositiveInt = 100
    """Requests of one address that may be answered at the same time, streams among them."""
    stream_seconds: PositiveInt = 3600
    """A stream in which nothing comes for so long is closed."""

    @field_validator("names")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_name(name) for name in names)

    @field_validator("webui_name")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        return None if name is None else _name(name)

    @field_validator("acme_directory")
    @classmethod
    def _is_https(cls, url: str) -> str:
        if not url.startswith("https://"):
            raise ValueError(f'expected an https URL such as "https://acme-v02.api.letsencrypt.org/directory", got "{url}"')
        return http_url(url, "https://acme-v02.api.letsencrypt.org/directory") or url

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in networks)

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it, as far as this section says."""
        return (self.host is None or self.host in LOOPBACK_HOSTS) and not self.names


def _name(name: str) -> str:
    lowered = name.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(lowered):
        raise ValueError(f'expected a host name such as "agents.example.com", got "{name}"')
    return lowered
