"""Grafana as a service: where it is, what it shows, and what it never does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.monitoring import dashboards
from freehold.stack.plan import Stack, plan
from freehold.stack.service import Service

MACHINE = Machine("Linux", "x86_64", cpu_count=4, memory_bytes=16 * GIB)


def stack(target: str, **sections: Any) -> Stack:
    told = {"stack": {"target": target, "services": ["monitoring"]}, "model": {"engine": "none"}, **sections}
    return plan(Settings.model_validate(told), MACHINE, version="1")


def grafana(**sections: Any) -> Service:
    service = stack("compose", **sections).service("grafana")
    assert service
    return service


def file(service: Service, name: str) -> str:
    return next(file.text for file in service.files if file.name == name)


def test_there_is_one_in_containers_and_none_without() -> None:
    assert stack("compose").service("grafana")
    assert stack("native").service("grafana") is None


def test_it_shows_every_page_and_begins_with_the_overview() -> None:
    service = grafana()
    pages = {file.name.removeprefix("dashboards/"): file.text for file in service.files if file.name.startswith("dashboards/")}
    assert pages == dashboards.texts()
    assert service.env["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == "${files}/dashboards/freehold-overview.json"
    (provider,) = yaml.safe_load(file(service, "provisioning/dashboards/freehold.yaml"))["providers"]
    assert provider["options"]["path"] == "${files}/dashboards"


def test_no_text_of_its_pages_is_taken_for_a_placeholder() -> None:
    assert not any("${" in text for text in dashboards.texts().values())


def test_it_asks_our_prometheus_and_knows_how_often_that_measures() -> None:
    (source,) = yaml.safe_load(file(grafana(monitoring={"scrape_seconds": 30}), "provisioning/datasources/freehold.yaml"))["datasources"]
    assert (source["url"], source["jsonData"]["timeInterval"]) == ("http://${address:prometheus}", "30s")


def test_its_password_and_its_key_are_made_and_only_ever_named_by_file() -> None:
    service = grafana()
    assert {secret.name for secret in service.secrets if secret.source == "generated"} == {"grafana_admin", "grafana_key"}
    assert service.env["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "${secret_file:grafana_admin}"
    assert service.env["GF_SECURITY_SECRET_KEY__FILE"] == "${secret_file:grafana_key}"
    assert not any("${secret:" in value for value in service.env.values())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("GF_AUTH_ANONYMOUS_ENABLED", "false"),
        ("GF_USERS_ALLOW_SIGN_UP", "false"),
        ("GF_ANALYTICS_REPORTING_ENABLED", "false"),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
        ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
        ("GF_PLUGINS_PREINSTALL_DISABLED", "true"),
        ("GF_SECURITY_DISABLE_GRAVATAR", "true"),
        ("GF_SNAPSHOTS_EXTERNAL_ENABLED", "false"),
    ],
)
def test_it_lets_in_nobody_unknown_and_tells_nobody(setting: str, value: str) -> None:
    assert grafana().env[setting] == value
    assert "out" not in grafana().networks


def test_it_is_reached_from_outside_its_networks_only_where_that_was_asked_for() -> None:
    assert not grafana().port().published
    assert grafana(monitoring={"published": True}).port().published
