"""One server that needs keys, and the edge in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.api.serving import serving
from tests.support.edge import Behind, edge, free_ports, telling_service, trusting
from tests.support.nginx import Nginx
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


@dataclass(frozen=True)
class Front:
    """The edge, what is behind it, and keys for both."""

    nginx: Nginx
    server_url: str
    behind: Behind
    write_key: str
    admin_key: str

    @property
    def url(self) -> str:
        return self.nginx.url

    def client(self, *, key: bool = True) -> httpx.AsyncClient:
        headers = {"x-api-key": self.write_key} if key else {}
        return httpx.AsyncClient(base_url=self.url, verify=trusting(self.nginx), headers=headers, timeout=30)


@pytest.fixture(scope="session")
def edge_database_url(postgres: PostgresServer) -> str:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute('CREATE DATABASE "edge" TEMPLATE freehold_template OWNER freehold_owner')
    return postgres.url("edge", "freehold_app", "app-secret")


@pytest.fixture(scope="session")
async def edge_keys(edge_database_url: str) -> dict[str, str]:
    """A key for each scope."""
    made = {scope: generate() for scope in ("write", "admin")}
    async with create_pool(edge_database_url, max_size=1, name="test") as pool:
        for scope, key in made.items():
            await ApiKeys(pool).add(key, name=scope, owner=scope, organisation="local", scopes=[scope], lifetime=None)
    return made


@pytest.fixture(scope="session")
def front(
    edge_database_url: str,
    edge_keys: dict[str, str],
    valkey: ValkeyServer,
    nginx_program: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    ports, folder = free_ports(), tmp_path_factory.mktemp("edge")
    told = {"auth": "keys", "public_urls": [f"https://127.0.0.1:{ports['https']}"], "trusted_proxies": ["127.0.0.1/32"]}
    with (
        serving(edge_database_url, valkey.url, server=told, limits={"request_body_mb": 1}) as url,
        telling_service() as behind,
        edge(
            nginx_program,
            url,
            folder,
            ports=ports,
            behind=dict.fromkeys(("gateway", "webui", "grafana"), behind.address),
            settings={"limits": {"request_body_mb": 1}, "knowledge": {"max_file_mb": 2}},
            names=["agents.example.com"],
            expose=["grafana"],
            requests_per_second=10000,
            requests_at_once=10000,
            key_requests_per_second=10000,
            key_requests_at_once=10000,
        ) as running,
    ):
        yield Front(running, url, behind, edge_keys["write"], edge_keys["admin"])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("another-edge")
