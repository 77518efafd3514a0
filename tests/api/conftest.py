"""One server with a worker for all API tests, and the official SDK as its client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.support.servers import PostgresServer, ValkeyServer

_DATABASE = "api"


@pytest.fixture(scope="session")
def api_database_url(postgres: PostgresServer) -> str:
    """One database for all API tests: they name their own threads, and what they search for."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{_DATABASE}" TEMPLATE freehold_template OWNER freehold_owner')
    return postgres.url(_DATABASE, "freehold_app", "app-secret")


@pytest.fixture(scope="module")
def own_database_url(postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database for the tests of one file, which serve a project of their own: other workers do not know its graphs."""
    name = request.path.stem
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE freehold_template OWNER freehold_owner')
    return postgres.url(name, "freehold_app", "app-secret")


@pytest.fixture(scope="session")
def server_url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server and a worker over the test project, without keys."""
    with serving(api_database_url, valkey.url) as url:
        yield url


@pytest.fixture(scope="session")
async def sdk(server_url: str) -> AsyncIterator[LangGraphClient]:
    """The official client."""
    async with get_client(url=server_url, api_key=None) as client:
        yield client


@pytest.fixture(scope="session")
async def http(server_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """For what the SDK cannot say."""
    async with httpx.AsyncClient(base_url=server_url, timeout=30) as client:
        yield client
