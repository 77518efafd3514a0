"""The agent server: the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.settings import Settings
from freehold.stack.service import Health, Metrics, Port, Service


def service(settings: Settings, told: Mapping[str, str]) -> Service:
    host, port = settings.server.host, settings.server.port
    first_key = {"FREEHOLD_BOOTSTRAP_API_KEY": "${secret:api_key}"} if settings.server.takes_keys else {}
    return Service(
        name="server",
        program="freehold",
        args=("serve", "--host", "${listen}", "--port", str(port)),
        env={**told, **first_key},
        environment="user",
        ports=(Port(port, host, "server.port", "--port"),),
        health=Health("http", "http://${address:server}/ok", start_seconds=120),
        needs=("postgres", "valkey", "migrate"),
        grace_seconds=15,
        metrics=Metrics(),
        networks=("apps", "data", "models", "observe", "out"),
        about="agent server",
    )
