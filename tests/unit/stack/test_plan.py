"""What runs for which settings, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, Incompatible
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.plan import Stack, given_secrets, plan

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
GPU = Machine("Linux", "x86_64", 16, 64 * GIB, (Gpu("NVIDIA L4", 24 * GIB),))

EVERYTHING = ["postgres", "valkey", "model", "migrate", "server", "worker"]


def planned(tree: dict[str, Any], machine: Machine = CPU) -> Stack:
    return plan(Settings.model_validate(tree), machine, version="1")


@pytest.mark.parametrize(
    ("tree", "machine", "services", "programs"),
    [
        ({}, CPU, EVERYTHING, {"model": "llama-server"}),
        ({}, GPU, EVERYTHING, {"model": "vllm"}),
        ({"model": {"engine": "llama.cpp"}}, GPU, EVERYTHING, {"model": "llama-server"}),
        ({"model": {"base_url": "http://gpu:8000/v1"}}, GPU, [name for name in EVERYTHING if name != "model"], {}),
        ({"model": {"engine": "none"}}, CPU, [name for name in EVERYTHING if name != "model"], {}),
        ({"database": {"url": "postgresql://db/x"}}, CPU, [name for name in EVERYTHING if name != "postgres"], {}),
        ({"redis": {"url": "redis://cache"}}, CPU, [name for name in EVERYTHING if name != "valkey"], {}),
    ],
    ids=["nothing set", "a GPU", "llama.cpp on a GPU machine", "an endpoint", "no model", "own database", "own redis"],
)
def test_settings_and_machine_decide_what_runs(
    tree: dict[str, Any], machine: Machine, services: list[str], programs: dict[str, str]
) -> None:
    stack = planned(tree, machine)
    assert [service.name for service in stack.services] == services
    assert {name: stack.service(name).program for name in programs} == programs  # type: ignore[union-attr]


def test_each_service_comes_after_all_it_needs() -> None:
    names = [service.name for service in planned({}).ordered()]
    assert names.index("postgres") < names.index("migrate") < min(names.index("server"), names.index("worker"))
    assert names.index("valkey") < names.index("server")


def test_a_service_that_was_replaced_is_needed_by_nobody() -> None:
    stack = planned({"database": {"url": "postgresql://db/x"}, "redis": {"url": "redis://cache"}})
    assert [service.needs for service in stack.services if service.name in ("migrate", "server", "worker")] == [
        (),
        ("migrate",),
        ("migrate",),
    ]


def test_no_secret_value_is_in_the_stack() -> None:
    stack = planned(
        {
            "database": {"url": "postgresql://u:hush1@db/x"},
            "redis": {"url": "redis://:hush2@cache"},
            "model": {"base_url": "http://gpu/v1", "api_key": "hush3"},
        }
    )
    assert "hush" not in repr(stack)
    assert {secret.name for secret in stack.secrets if secret.source == "given"} == {"database_url", "redis_url", "endpoint_key"}


def test_given_secrets_keep_their_values_apart_from_the_stack() -> None:
    settings = Settings.model_validate({"redis": {"url": "redis://:hush@cache"}})
    assert {name: value.get_secret_value() for name, value in given_secrets(settings).items()} == {"redis_url": "redis://:hush@cache"}


@pytest.mark.parametrize(
    ("tree", "variables"),
    [
        ({}, {"OPENAI_BASE_URL": "http://${address:model}/v1", "OPENAI_API_KEY": "${secret:model_key}"}),
        (
            {"model": {"base_url": "http://gpu/v1", "api_key": "k"}},
            {"OPENAI_BASE_URL": "http://gpu/v1", "OPENAI_API_KEY": "${secret:endpoint_key}"},
        ),
        ({"database": {"url": "postgresql://db"}}, {"DATABASE_URL": "${secret:database_url}"}),
        ({"redis": {"url": "redis://cache"}}, {"REDIS_URL": "${secret:redis_url}"}),
    ],
    ids=["a model server of ours", "an endpoint with a key", "own database", "own redis"],
)
def test_server_and_worker_are_told_where_the_rest_is(tree: dict[str, Any], variables: dict[str, str]) -> None:
    stack = planned(tree)
    for name in ("server", "worker"):
        service = stack.service(name)
        assert service is not None
        assert {key: service.env.get(key) for key in variables} == variables


def test_an_endpoint_without_a_key_gets_none() -> None:
    server = planned({"model": {"base_url": "http://gpu/v1"}}).service("server")
    assert server is not None
    assert "OPENAI_API_KEY" not in server.env


def test_only_the_migration_may_become_superuser() -> None:
    stack = planned({})
    assert [service.name for service in stack.services if "FREEHOLD_PROVISION_DATABASE_URL" in service.env] == ["migrate"]


def test_a_database_of_ones_own_is_not_provisioned() -> None:
    migrate = planned({"database": {"url": "postgresql://db/x"}}).service("migrate")
    assert migrate is not None
    assert "FREEHOLD_PROVISION_DATABASE_URL" not in migrate.env


@pytest.mark.parametrize(("host", "keys"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_server_beyond_loopback_gets_a_first_key(host: str, keys: bool) -> None:
    stack = planned({"server": {"host": host}})
    server = stack.service("server")
    assert server is not None
    assert ("api_key" in {secret.name for secret in stack.secrets}) is keys
    assert ("FREEHOLD_BOOTSTRAP_API_KEY" in server.env) is keys


def test_worker_count_becomes_replicas_and_room_for_connections() -> None:
    stack = planned({"worker": {"count": 5}, "database": {"pool_size": 50}})
    worker, postgres = stack.service("worker"), stack.service("postgres")
    assert worker is not None
    assert postgres is not None
    assert worker.replicas == 5
    assert "max_connections=330" in postgres.args


@pytest.mark.parametrize(
    "tree",
    [{"server": {"port": 9001}}, {"limits": {"model_calls": 3}}, {"database": {"url": "postgresql://db"}}],
    ids=["a port", "a limit that only the server reads", "another database"],
)
def test_a_changed_setting_changes_the_fingerprint(tree: dict[str, Any]) -> None:
    assert planned(tree).fingerprint != planned({}).fingerprint


def test_another_secret_changes_the_fingerprint_and_the_same_one_does_not() -> None:
    one, same, other = (planned({"redis": {"url": f"redis://:{word}@c"}}).fingerprint for word in ("a", "a", "b"))
    assert one == same != other


@pytest.mark.parametrize(
    ("tree", "machine", "kind", "message"),
    [
        ({"model": {"engine": "vllm"}}, CPU, Incompatible, "vLLM needs an NVIDIA GPU"),
        ({"model": {"name": "all-minilm-l6-v2"}}, CPU, ConfigError, "does not run on llama.cpp as a chat model"),
        ({"model": {"name": "qwen9"}}, CPU, ConfigError, 'no model "qwen9"'),
    ],
    ids=["vLLM without a GPU", "an embedding model", "an unknown model"],
)
def test_what_cannot_run_is_said_before_anything_starts(
    tree: dict[str, Any], machine: Machine, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        planned(tree, machine)


def test_a_machine_in_the_settings_stands_in_for_the_one_it_is_planned_on() -> None:
    stack = planned({"machine": {"gpus": [{"name": "NVIDIA L4", "memory_gb": 24}], "memory_gb": 64}})
    model = stack.service("model")
    assert model is not None
    assert model.program == "vllm"
    assert stack.engine.entry == planned({}, GPU).engine.entry
    assert planned({"machine": {"gpus": []}}, GPU).engine.name == "llama.cpp"
