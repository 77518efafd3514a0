"""Workers: claim runs and execute them. Apart from HTTP, so that a heavy graph never delays an answer to a client."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.settings import Settings
from freehold.stack.service import Health, Metrics, Port, Service
from freehold.stack.services.server import METRICS_KEY, metrics_environment

#: Of each worker's own container.
METRICS_PORT = 9464


def service(settings: Settings, told: Mapping[str, str]) -> Service:
    # On one machine without containers the server shows what its workers count: they share a folder.
    measured = "monitoring" in settings.stack.services and settings.stack.target != "native"
    shown = {**metrics_environment(), "FREEHOLD_METRICS_ADDRESS": f"${{listen}}:{METRICS_PORT}"} if measured else {}
    return Service(
        name="worker",
        program="freehold",
        args=("worker",),
        env={**told, **shown, "FREEHOLD_READY_FILE": "${ready}"},
        environment="user",
        runs_agents=True,
        health=Health("ready", "${ready}", start_seconds=120),
        needs=("postgres", "valkey", "migrate", "pooler"),
        grace_seconds=settings.worker.drain_seconds + 5,
        replicas=settings.worker.count,
        ports=(Port(METRICS_PORT, "", "monitoring", name="metrics"),) if measured else (),
        metrics=Metrics("metrics", key=METRICS_KEY.name) if measured else None,
        secrets=(METRICS_KEY,) if measured else (),
        networks=("data", "models", "observe", "out"),
        about="worker",
    )
