"""What the edge makes of settings: names, ports, and whether the server behind it needs keys."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, plan

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)


def planned(tree: dict[str, Any]) -> Stack:
    return plan(Settings.model_validate({"stack": {"services": ["edge"]}, **tree}), CPU, version="1")


def told(stack: Stack) -> dict[str, str]:
    server = stack.service("server")
    assert server
    return dict(server.env)


def test_on_one_machine_it_listens_there_alone_and_needs_no_rights() -> None:
    edge = planned({}).service("edge")
    assert edge
    assert [(port.name, port.host, port.number) for port in edge.ports] == [("https", "127.0.0.1", 8443), ("redirect", "127.0.0.1", 8880)]


def test_in_containers_it_is_always_there_and_alone_published() -> None:
    stack = planned({"stack": {"target": "compose"}})
    edge = stack.service("edge")
    assert edge
    assert [(port.name, port.number, port.published) for port in edge.ports] == [
        ("https", 443, True),
        ("redirect", 80, True),
        ("status", 8090, False),
    ]
    assert [service.name for service in stack.services if any(port.published for port in service.ports)] == ["edge"]


@pytest.mark.parametrize(
    ("tree", "auth"),
    [
        ({}, "none"),
        ({"edge": {"host": "0.0.0.0"}}, "keys"),
        ({"edge": {"names": ["agents.example.com"]}}, "keys"),  # a tunnel may lead here
        ({"stack": {"target": "compose"}}, "keys"),
        ({"stack": {"target": "compose"}, "edge": {"host": "127.0.0.1"}}, "keys"),
        ({"edge": {"host": "0.0.0.0", "auth": "basic", "users": "users"}}, "none"),
        ({"server": {"host": "0.0.0.0"}, "edge": {"auth": "basic", "users": "users"}}, "keys"),
        ({"edge": {"host": "0.0.0.0"}, "server": {"auth": "oidc"}, "oidc": {"issuer": "https://i.example", "audience": ["a"]}}, "oidc"),
    ],
    ids=["this machine", "every address", "a name", "containers", "containers, loopback", "passwords", "passwords, open server", "tokens"],
)
def test_keys_are_needed_as_soon_as_others_may_get_in(tree: dict[str, Any], auth: str) -> None:
    tree = {**tree, "stack": {"services": ["edge"], **tree.get("stack", {})}}
    stack = planned(tree)
    assert told(stack)["FREEHOLD_SERVER_AUTH"] == auth
    assert ("api_key" in {secret.name for secret in stack.secrets}) == (auth == "keys")


def test_the_server_believes_the_edge_and_knows_its_names() -> None:
    env = told(planned({"edge": {"names": ["agents.example.com"], "port": 443}}))
    assert env["FREEHOLD_TRUSTED_PROXIES"] == "127.0.0.1/32 ::1/128"
    assert env["FREEHOLD_PUBLIC_URLS"].split() == ["https://agents.example.com", "https://localhost", "https://127.0.0.1", "https://[::1]"]


def test_without_an_edge_the_server_is_told_nothing_of_one() -> None:
    env = told(planned({"stack": {"services": []}}))
    assert not {"FREEHOLD_TRUSTED_PROXIES", "FREEHOLD_PUBLIC_URLS", "FREEHOLD_SERVER_AUTH"} & env.keys()


def test_open_to_others_this_machines_own_names_are_not_served() -> None:
    urls = told(planned({"edge": {"host": "0.0.0.0", "names": ["agents.example.com"], "port": 443}}))["FREEHOLD_PUBLIC_URLS"]
    assert urls == "https://agents.example.com"


def test_an_authority_is_asked_by_a_service_of_its_own() -> None:
    stack = planned({"edge": {"tls": "acme", "names": ["agents.example.com"]}})
    renewal = stack.service("renewal")
    assert renewal and renewal.needs == ("edge",)


def test_the_users_own_files_are_secrets_by_reference() -> None:
    stack = planned({"edge": {"tls": "files", "certificate": "c.pem", "key": "k.pem"}})
    given = {secret.name: secret.file for secret in stack.secrets if secret.file}
    assert {name: str(path).rpartition("/")[2] for name, path in given.items()} == {"edge_certificate": "c.pem", "edge_key": "k.pem"}


def test_a_dashboard_that_does_not_run_cannot_be_shown() -> None:
    with pytest.raises(ConfigError, match='"grafana" comes with "monitoring", which is not asked for'):
        planned({"edge": {"names": ["agents.example.com"], "expose": ["grafana"]}})
