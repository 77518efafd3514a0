"""Where traces go, as a value: Phoenix with what it is told, and the addresses and keys of servers and workers."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, given_secrets, plan

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
LANGFUSE = {"backend": "langfuse", "langfuse": {"base_url": "https://lf.lan", "public_key": "pk", "secret_key": "hush"}}


def planned(tree: dict[str, Any]) -> Stack:
    stack = {"services": ["tracing"], **tree.get("stack", {})}
    return plan(Settings.model_validate({**tree, "stack": stack}), CPU, version="1")


def told(stack: Stack) -> list[tuple[str | None, str | None]]:
    """Endpoint and headers of server and worker."""
    services = [service for service in stack.services if service.name in ("server", "worker")]
    return [(service.env.get("OTEL_EXPORTER_OTLP_ENDPOINT"), service.env.get("OTEL_EXPORTER_OTLP_HEADERS")) for service in services]


def test_server_and_worker_send_to_phoenix_by_themselves() -> None:
    assert told(planned({})) == [("http://${address:phoenix}", None)] * 2


@pytest.mark.parametrize(
    "tree", [{"tracing": {"host": "0.0.0.0"}}, {"stack": {"target": "compose"}}], ids=["open to the network", "in containers"]
)
def test_where_others_reach_it_people_sign_in_and_traces_need_a_key(tree: dict[str, Any]) -> None:
    stack = planned(tree)
    phoenix = stack.service("phoenix")
    assert phoenix is not None
    assert phoenix.env["PHOENIX_ENABLE_AUTH"] == "true"
    assert told(stack)[0][1] == "authorization=Bearer%20" + phoenix.env["PHOENIX_ADMIN_SECRET"]
    assert {"phoenix_key", "phoenix_secret", "phoenix_password"} <= {secret.name for secret in stack.secrets}


def test_its_administrator_never_has_the_password_of_everybody_s_phoenix() -> None:
    for tree in ({}, {"tracing": {"host": "0.0.0.0"}}):
        phoenix = planned(tree).service("phoenix")
        assert phoenix is not None
        assert phoenix.env["PHOENIX_DEFAULT_ADMIN_INITIAL_PASSWORD"] == "${secret:phoenix_password}"


def test_on_loopback_it_answers_to_its_own_names_only() -> None:
    on_loopback, open_to_all = (planned({"tracing": {"host": host}}).service("phoenix") for host in ("127.0.0.1", "0.0.0.0"))
    assert on_loopback is not None and open_to_all is not None
    assert on_loopback.args[-3:] == ("127.0.0.1", "localhost", "[::1]")
    assert open_to_all.args[-1] == "*"
    assert "PHOENIX_CSRF_TRUSTED_ORIGINS" in on_loopback.env


@pytest.mark.parametrize("tree", [{}, {"tracing": LANGFUSE}], ids=["phoenix", "langfuse"])
def test_an_endpoint_of_the_settings_stays(tree: dict[str, Any]) -> None:
    assert told(planned({**tree, "telemetry": {"otlp_endpoint": "http://collector"}})) == [(None, None)] * 2


def test_langfuse_gets_its_two_keys_as_a_secret_and_no_service_is_started() -> None:
    settings = {"stack": {"services": ["tracing"]}, "tracing": LANGFUSE}
    stack = planned(settings)
    assert told(stack) == [("https://lf.lan/api/public/otel", "${secret:langfuse_headers}")] * 2
    assert stack.service("phoenix") is None
    headers = given_secrets(Settings.model_validate(settings))["langfuse_headers"].get_secret_value()
    assert headers == "authorization=Basic%20cGs6aHVzaA%3D%3D,x-langfuse-ingestion-version=4"
    assert "hush" not in repr(stack)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"tracing": {"backend": "langfuse"}}, "tracing.langfuse: base_url, public_key and secret_key are needed"),
        ({"tracing": {"backend": "otlp"}}, "telemetry.otlp_endpoint: needed"),
        ({"database": {"url": "postgresql://db"}}, '"tracing" needs the stack\'s own PostgreSQL'),
    ],
    ids=["Langfuse without keys", "OTLP to nowhere", "no Postgres for Phoenix"],
)
def test_what_is_missing_is_said(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tree)
    assert message in caught.value.message
    assert caught.value.hint


def test_phoenix_has_a_database_of_its_own_and_tells_nobody_anything() -> None:
    phoenix = planned({"tracing": {"keep_days": 30}}).service("phoenix")
    assert phoenix is not None
    assert phoenix.database == "phoenix"
    assert phoenix.env["PHOENIX_TELEMETRY_ENABLED"] == phoenix.env["PHOENIX_ALLOW_EXTERNAL_RESOURCES"] == "false"
    assert phoenix.env["PHOENIX_DEFAULT_RETENTION_POLICY_DAYS"] == "30"
    ast.parse(phoenix.files[0].text)
