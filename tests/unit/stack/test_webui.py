"""Open WebUI as a value: what it is connected to, who gets in, and that it fetches and sends nothing."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, plan
from freehold.stack.service import Service

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)


def planned(tree: dict[str, Any], *services: str) -> Stack:
    tree = {**tree, "stack": {"services": [*services, "webui"], **tree.get("stack", {})}}
    return plan(Settings.model_validate(tree), CPU, version="1")


def webui(tree: dict[str, Any], *services: str) -> Service:
    found = planned(tree, *services).service("webui")
    assert found is not None
    return found


AGENTS = ("http://${address:server}/v1", "none")


@pytest.mark.parametrize(
    ("tree", "services", "connections"),
    [
        ({}, [], [AGENTS, ("http://${address:model}/v1", "${secret:model_key}")]),
        ({}, ["gateway"], [AGENTS, ("http://${address:gateway}/v1", "sk-${secret:gateway_key}")]),
        ({"model": {"base_url": "http://gpu/v1", "api_key": "k"}}, [], [AGENTS, ("http://gpu/v1", "${secret:endpoint_key}")]),
        ({"model": {"base_url": "http://gpu/v1"}}, [], [AGENTS, ("http://gpu/v1", "none")]),
        ({"model": {"engine": "none"}}, [], [AGENTS]),
        ({"model": {"engine": "none"}, "server": {"auth": "keys"}}, [], [("http://${address:server}/v1", "${secret:webui_api_key}")]),
    ],
    ids=["a model of ours", "the gateway", "an endpoint with a key", "an endpoint without", "no model", "a server that takes keys"],
)
def test_it_is_connected_to_the_agents_and_to_the_models(
    tree: dict[str, Any], services: list[str], connections: list[tuple[str, str]]
) -> None:
    env = webui(tree, *services).env
    assert list(zip(env["OPENAI_API_BASE_URLS"].split(";"), env["OPENAI_API_KEYS"].split(";"), strict=True)) == connections


def test_the_server_knows_its_key() -> None:
    server = planned({"server": {"auth": "keys"}}).service("server")
    assert server is not None
    assert server.env["FREEHOLD_WEBUI_API_KEY"] == "${secret:webui_api_key}"


def test_nobody_gets_in_without_an_account_and_nobody_makes_one() -> None:
    env = webui({}).env
    assert (env["WEBUI_AUTH"], env["ENABLE_SIGNUP"], env["DEFAULT_USER_ROLE"]) == ("true", "false", "pending")
    assert "*" not in env["CORS_ALLOW_ORIGIN"]


def test_its_passwords_are_generated() -> None:
    made = {secret.name for secret in planned({}).secrets if secret.source == "generated"}
    assert {"webui_password", "webui_sessions", "postgres_webui"} <= made


def test_titles_are_never_asked_of_an_agent() -> None:
    assert webui({"model": {"base_url": "http://gpu/v1", "name": "m"}}).env["TASK_MODEL_EXTERNAL"] == "m"
    assert webui({"model": {"engine": "none"}}).env["ENABLE_TITLE_GENERATION"] == "false"


def test_it_has_a_database_of_its_own() -> None:
    service = webui({})
    assert service.database == "webui"
    assert service.env["DATABASE_URL"].startswith("postgresql://webui:${secret:postgres_webui}@")


def test_agents_are_handed_no_tools_which_they_would_refuse() -> None:
    assert '"builtin_tools": false' in webui({}).env["DEFAULT_MODEL_METADATA"]


@pytest.mark.parametrize(
    ("tree", "first"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"stack": {"services": ["webui", "edge"]}}, "https://localhost:8444"),
        ({"stack": {"services": ["webui", "edge"]}, "edge": {"webui_name": "chat.example.com", "port": 443}}, "https://chat.example.com"),
    ],
    ids=["on this machine", "behind the edge", "with a name of its own"],
)
def test_it_answers_pages_of_its_own_origin_alone(tree: dict[str, Any], first: str) -> None:
    env = webui(tree).env
    assert env["WEBUI_URL"] == first
    assert env["CORS_ALLOW_ORIGIN"].split(";")[0] == first
