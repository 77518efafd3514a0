"""What a Compose folder says of itself: which service knows which secret, what needs what, which databases there are.

Read from `docker compose config`, so it is what runs, whatever the settings say by now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.targets.compose import docker

_ROLE = re.compile(r"postgresql://(?P<role>[a-z_]+):\{\{secret:(?P<secret>[a-z0-9_]+)\}\}@")


@dataclass(frozen=True)
class Told:
    """A folder's services."""

    #: Secrets of each service, each service after those it depends on; tasks are not among them.
    secrets: Mapping[str, tuple[str, ...]]
    #: Every service, tasks too, in that order.
    services: tuple[str, ...]
    #: Variables of the migration, with references in the place of secrets; empty where there is none.
    migration: Mapping[str, str]

    def users(self, secret: str) -> tuple[str, ...]:
        """Services that know a secret, in an order in which they can be started."""
        return tuple(name for name, known in self.secrets.items() if secret in known)

    @property
    def roles(self) -> Mapping[str, str]:
        """Roles of the stack's own Postgres, by the secret that is their password."""
        return {match["secret"]: match["role"] for url in self._urls() if (match := _ROLE.match(url))}

    @property
    def databases(self) -> Mapping[str, str]:
        """Databases of the stack's own Postgres, by name, with their owners."""
        names = ("FREEHOLD_MIGRATION_DATABASE_URL", "FREEHOLD_SERVICE_DATABASE_URLS")
        urls = [urlsplit(url) for name in names for url in self.migration.get(name, "").split()]
        return {url.path.lstrip("/"): url.username or "" for url in urls} if self.has_own_postgres else {}

    @property
    def has_own_postgres(self) -> bool:
        return "FREEHOLD_PROVISION_DATABASE_URL" in self.migration

    def _urls(self) -> list[str]:
        if not self.has_own_postgres:
            return []
        return [url for name, text in self.migration.items() if name.endswith(("DATABASE_URL", "DATABASE_URLS")) for url in text.split()]


async def told(folder: Path) -> Told:
    """Ask Compose. Raises Unhealthy where the folder cannot be read."""
    return parse(json.loads(await docker.compose(folder, "config", "--format", "json")))


def parse(model: Mapping[str, Any]) -> Told:
    """The whole of `docker compose config --format json`."""
    services: Mapping[str, Any] = model["services"]
    ordered = _ordered(services)
    servers = [name for name in ordered if services[name].get("restart") not in ("no", "on-failure:3")]
    # Compose writes `$` of values twice.
    environment = services.get("migrate", {}).get("environment") or {}
    return Told(
        secrets={name: tuple(secret["source"] for secret in services[name].get("secrets") or ()) for name in servers},
        services=tuple(ordered),
        migration={name: str(value).replace("$$", "$") for name, value in environment.items() if value is not None},
    )


def _ordered(services: Mapping[str, Any]) -> list[str]:
    placed: list[str] = []

    def place(name: str) -> None:
        if name in placed or name not in services:
            return
        for need in services[name].get("depends_on") or {}:
            place(need)
        placed.append(name)

    for name in services:
        place(name)
    return placed
