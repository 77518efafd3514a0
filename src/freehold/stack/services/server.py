"""The agent server: the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.settings import Settings
from freehold.stack.service import Health, Metrics, Port, Secret, Service

#: Opens the metrics of our own processes, and nothing else.
METRICS_KEY = Secret("metrics_key", "generated", "key with which Prometheus reads the metrics of server and workers")


def metrics_environment() -> Mapping[str, str]:
    """What a process of ours is told that Prometheus asks."""
    return {"FREEHOLD_METRICS_KEY": f"${{secret:{METRICS_KEY.name}}}"}


def service(settings: Settings, told: Mapping[str, str]) -> Service:
    host, port = settings.server.host, settings.server.port
    measured = "monitoring" in settings.stack.services
    return Service(
        name="server",
        program="freehold",
        args=("serve", "--host", "${listen}", "--port", str(port)),
        env={**told, **_keys(settings), **_in_front(settings), **(metrics_environment() if measured else {})},
        environment="user",
        runs_agents=True,
        ports=(Port(port, host, "server.port", "--port"),),
        health=Health("http", "http://${address:server}/ok", start_seconds=120),
        needs=("postgres", "valkey", "migrate", "pooler"),
        grace_seconds=15,
        metrics=Metrics(key="metrics_key" if measured else None),
        secrets=(METRICS_KEY,) if measured else (),
        networks=("apps", "data", "models", "observe", "out"),
        about="agent server",
    )


def _in_front(settings: Settings) -> Mapping[str, str]:
    """What the edge, planned with these settings, makes of the server: its names, whom it believes, whether it needs keys."""
    server = settings.server
    if not server.public_urls:
        return {}
    return {
        "FREEHOLD_PUBLIC_URLS": " ".join(server.public_urls),
        "FREEHOLD_TRUSTED_PROXIES": " ".join(server.trusted_proxies),
        "FREEHOLD_SERVER_AUTH": server.auth,
    }


def _keys(settings: Settings) -> Mapping[str, str]:
    """Keys that it knows from the start, where it takes some."""
    if not settings.server.takes_keys:
        return {}
    webui = {"FREEHOLD_WEBUI_API_KEY": "${secret:webui_api_key}"} if "webui" in settings.stack.services else {}
    return {"FREEHOLD_BOOTSTRAP_API_KEY": "${secret:api_key}", **webui}
