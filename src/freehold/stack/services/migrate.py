"""Brings the database to this version's shape before anything uses it: roles, extension, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from freehold.config.settings import Settings
from freehold.stack.environment import role_url, service_database_url, superuser_url
from freehold.stack.service import Service


def service(settings: Settings, told: Mapping[str, str], databases: Iterable[str] = ()) -> Service:
    """`databases`: names of those that belong to one service each; made here too."""
    env = {name: value for name, value in told.items() if name.endswith("DATABASE_URL") or name.startswith("FREEHOLD_")}
    if not settings.database.url:
        env["FREEHOLD_MIGRATION_DATABASE_URL"] = role_url("owner")
        env["FREEHOLD_PROVISION_DATABASE_URL"] = superuser_url(settings)
        if "monitoring" in settings.stack.services:
            env["FREEHOLD_MONITOR_DATABASE_URL"] = role_url("monitor")
        if urls := [service_database_url(database) for database in databases]:
            env["FREEHOLD_SERVICE_DATABASE_URLS"] = " ".join(urls)
    return Service(
        name="migrate",
        kind="task",
        program="python",
        args=("-m", "freehold.storage.migrate"),
        env=env,
        environment="user",
        needs=("postgres",),
        restarts=False,
        networks=("data",),
        about="database migrations",
    )
