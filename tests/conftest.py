"""Fixtures every test may ask for: a fresh database, an empty Valkey. All of them are the real servers."""

from __future__ import annotations

from tests.support import environment

environment.clean()  # before any import of ours reads it
environment.hear_interrupts()

from collections.abc import AsyncIterator, Iterator  # noqa: E402 - after the environment is clean
from dataclasses import dataclass  # noqa: E402
from itertools import count  # noqa: E402

import psycopg  # noqa: E402
import pytest  # noqa: E402
import redis.asyncio  # noqa: E402

from freehold.lab.scripted_model import ECHO_AGENT, ScriptedModel, serving  # noqa: E402
from freehold.storage.migrate import migrate, provision  # noqa: E402
from tests.support import nginx  # noqa: E402
from tests.support.servers import PostgresServer, ValkeyServer  # noqa: E402

_TEMPLATE = "freehold_template"
_APP_ROLE = "freehold_app"
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/chaos; pytest reads them from the topmost conftest only."""
    parser.addoption("--chaos-runs", type=int, default=300, help="runs that the long chaos test plays at least")
    parser.addoption("--chaos-seed", type=int, default=1000, help="first seed of the long chaos test")


@dataclass(frozen=True)
class Database:
    """One database through the eyes of each role that may enter it."""

    name: str
    #: The role the server and workers use: no ownership, no BYPASSRLS.
    app_url: str
    #: Owns the tables and migrates them.
    owner_url: str
    #: Read-only, what query_database connects as.
    reader_url: str
    superuser_url: str


@pytest.fixture(scope="session")
def nginx_program() -> tuple[str, ...]:
    """Start of the command line of the real nginx."""
    return nginx.program()


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """PostgreSQL with a template database that was provisioned and migrated the way a real one is."""
    server = PostgresServer()
    try:
        server.create()
        template = make_database(server, _TEMPLATE)
        await provision(server.url("postgres"), owner_url=template.owner_url, app_url=template.app_url, reader_url=template.reader_url)
        await migrate(template.owner_url, app_role=_APP_ROLE)
        yield server
    finally:
        server.remove()


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A fresh, migrated database, dropped afterwards."""
    database = make_database(postgres, f"test_{next(_numbers)}")
    async with await psycopg.AsyncConnection.connect(postgres.url("postgres"), autocommit=True) as admin:
        await admin.execute(f'CREATE DATABASE "{database.name}" TEMPLATE "{_TEMPLATE}" OWNER freehold_owner')
        yield database
        await admin.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')


@pytest.fixture
def database_url(database: Database) -> str:
    """URL of a fresh, migrated database as the application's role."""
    return database.app_url


@pytest.fixture
def owner_database_url(database: Database) -> str:
    """The same database as the role that owns the tables."""
    return database.owner_url


@pytest.fixture
def reader_database_url(database: Database) -> str:
    """The same database as the read-only role of the query_database tool."""
    return database.reader_url


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """One Valkey for all tests that do not stop it."""
    server = ValkeyServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
async def valkey_url(valkey: ValkeyServer) -> str:
    """URL of an empty Valkey."""
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        await client.flushall()
    return valkey.url


def make_database(server: PostgresServer, name: str) -> Database:
    """URLs of a database on a server, which need not exist yet."""
    return Database(
        name,
        app_url=server.url(name, _APP_ROLE, "app-secret"),
        owner_url=server.url(name, "freehold_owner", "owner-secret"),
        reader_url=server.url(name, "freehold_reader", "reader-secret"),
        superuser_url=server.url(name),
    )


@pytest.fixture(scope="session")
async def _scripted_model() -> AsyncIterator[ScriptedModel]:
    async with serving() as model:
        yield model


@pytest.fixture
def scripted_model(_scripted_model: ScriptedModel) -> ScriptedModel:
    """An OpenAI-compatible endpoint that behaves like an agent's model; `use(Script(...))` gives it other answers."""
    _scripted_model.use(ECHO_AGENT)
    return _scripted_model
