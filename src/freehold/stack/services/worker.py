"""Workers: claim runs and execute them. Apart from HTTP, so that a heavy graph never delays an answer to a client."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.settings import Settings
from freehold.stack.service import Health, Service


def service(settings: Settings, told: Mapping[str, str]) -> Service:
    return Service(
        name="worker",
        program="freehold",
        args=("worker",),
        env={**told, "FREEHOLD_READY_FILE": "${ready}"},
        environment="user",
        health=Health("ready", "${ready}", start_seconds=120),
        needs=("postgres", "valkey", "migrate"),
        grace_seconds=settings.worker.drain_seconds + 5,
        replicas=settings.worker.count,
        networks=("data", "models", "observe", "out"),
        about="worker",
    )
