"""The same fixtures as everywhere, but the application's role reaches its database through a PgBouncer in transaction mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.conftest import Database
from tests.support.pgbouncer import PgBouncer
from tests.support.servers import PostgresServer


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """With five connections to each database, for whatever number of clients."""
    running = PgBouncer(postgres, {"freehold_app": "app-secret", "freehold_owner": "owner-secret"})
    yield running
    running.remove()


@pytest.fixture
def database(database: Database, pgbouncer: PgBouncer) -> Database:
    """A fresh, migrated database; the superuser goes there directly."""
    return replace(database, app_url=pgbouncer.url(database.app_url), owner_url=pgbouncer.url(database.owner_url))
