"""Health as Docker asks for it: a command inside the container, made of what its image has."""

from __future__ import annotations

import math

from freehold.stack.service import Service
from freehold.targets.compose.images import Image
from freehold.targets.compose.yaml import Value

#: Longest one question may take, in seconds.
PATIENCE = 5


def healthcheck(service: Service, image: Image, target: str) -> dict[str, Value] | None:
    """The `healthcheck` of a service; None where nothing can be asked.

    Args:
        target: what is asked, with its placeholders filled.
    """
    test = _test(service, image, target)
    if test is None or service.health is None:
        return None
    health = service.health
    return {
        "test": test,
        "interval": f"{math.ceil(health.interval_seconds)}s",
        "timeout": f"{PATIENCE}s",
        "retries": health.failures,
        "start_period": f"{math.ceil(health.start_seconds)}s",
    }


def _test(service: Service, image: Image, target: str) -> list[Value] | None:
    probe = service.health.probe if service.health else "alive"
    if probe == "http":
        return ["CMD", *image.tells] if image.tells else _http(image, target)
    if probe == "postgres":
        # By TCP: while the image makes the database, a server listens on the socket alone.
        port = target.rpartition(":")[2] if ":" in target else "5432"
        return ["CMD", "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}", "--username=postgres"]
    if probe == "valkey":
        password = f"REDISCLI_AUTH=$(cat /run/secrets/{service.name})"
        return ["CMD-SHELL", f"{password} valkey-cli --no-auth-warning ping | grep -q PONG"]
    if probe == "ready":
        return ["CMD", "test", "-e", target]
    return None


def _http(image: Image, url: str) -> list[Value] | None:
    secure = url.startswith("https:")
    if image.asks == "curl":
        return ["CMD", "curl", "--fail", "--silent", "--output", "/dev/null", *(["--insecure"] if secure else []), url]
    if image.asks == "wget":
        return ["CMD", "wget", "-q", "-O", "/dev/null", *(["--no-check-certificate"] if secure else []), url]
    if image.asks == "python3":
        return ["CMD", "python3", "-c", f"import urllib.request as r; r.urlopen('{url}', timeout={PATIENCE - 1})"]
    return None
