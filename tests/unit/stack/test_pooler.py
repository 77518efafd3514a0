"""PgBouncer as a value: who goes through it and who does not."""

from __future__ import annotations

import configparser
from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, plan

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)


def planned(*services: str, **tree: Any) -> Stack:
    return plan(Settings.model_validate({"stack": {"services": ["pooler", *services]}, **tree}), CPU, version="1")


def ini(**pooler: Any) -> configparser.ConfigParser:
    service = planned(pooler=pooler).service("pooler")
    assert service is not None
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(service.files[0].text)
    return parser


def test_servers_and_workers_go_through_it() -> None:
    stack = planned()
    for name in ("server", "worker"):
        service = stack.service(name)
        assert service is not None
        assert "pooler" in service.needs
        assert "host=${host:pooler}&port=6432" in service.env["DATABASE_URL"]
        assert "host=${host:pooler}&port=6432" in service.env["FREEHOLD_READER_DATABASE_URL"]
        assert "${host:postgres}" in service.env["FREEHOLD_DIRECT_DATABASE_URL"]  # for agents that LISTEN


def test_what_needs_a_session_goes_to_the_server_itself() -> None:
    stack = planned("tracing", "experiments")
    urls = {
        "migrate": "FREEHOLD_MIGRATION_DATABASE_URL",
        "phoenix": "PHOENIX_SQL_DATABASE_URL",
        "mlflow": "MLFLOW_BACKEND_STORE_URI",
    }
    for name, variable in urls.items():
        service = stack.service(name)
        assert service is not None
        assert "${host:postgres}" in service.env[variable]


def test_sessions_change_hands_after_each_transaction_and_statements_stay_prepared() -> None:
    told = ini(connections=7, clients=200)["pgbouncer"]
    assert (told["pool_mode"], told["default_pool_size"], told["max_client_conn"]) == ("transaction", "7", "200")
    assert int(told["max_prepared_statements"]) > 100


def test_it_reaches_one_database_only_and_passwords_are_references() -> None:
    assert list(ini()["databases"]) == ["freehold"]
    service = planned().service("pooler")
    assert service is not None
    assert service.files[1].text == '"freehold_app" "${secret:postgres_app}"\n"freehold_reader" "${secret:postgres_reader}"\n'
    assert ini()["pgbouncer"]["auth_type"] == "scram-sha-256"


def test_on_one_machine_it_listens_on_a_socket_alone() -> None:
    told = ini()["pgbouncer"]
    assert (told["listen_addr"], told["unix_socket_dir"], told["unix_socket_mode"]) == ("", "${sockets:pooler}", "0700")


def test_a_database_of_ones_own_has_a_pooler_of_ones_own() -> None:
    with pytest.raises(ConfigError, match='"pooler" needs the stack'):
        planned(database={"url": "postgresql://db"})
