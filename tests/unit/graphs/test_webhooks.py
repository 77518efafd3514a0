"""What freehold.toml and langgraph.json together allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.config.settings import WebhooksSection
from freehold.core.errors import ConfigError, InvalidRequest
from freehold.graphs.project import Project, read_project
from freehold.graphs.webhooks import headers, url_policy

LAN = WebhooksSection(allow_private=("hooks.lan",))


def project(folder: Path, **sections: Any) -> Project:
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {"a": "./a.py:graph"}, **sections}))
    return read_project(folder)


def refuses(policy: Any, url: str) -> bool:
    try:
        policy.parse(url)
    except InvalidRequest:
        return True
    return False


def test_without_a_word_https_to_public_hosts_is_allowed_and_a_path_is_not() -> None:
    policy = url_policy(WebhooksSection(), None)
    assert not refuses(policy, "https://example.com/")
    assert refuses(policy, "http://example.com/") and refuses(policy, "/hook")


def test_hosts_that_freehold_toml_names_need_no_https_unless_the_project_demands_it(tmp_path: Path) -> None:
    assert not refuses(url_policy(LAN, None), "http://hooks.lan/")
    assert refuses(url_policy(LAN, project(tmp_path, webhooks={"url": {"require_https": True}})), "http://hooks.lan/")


def test_the_rules_of_the_project_hold(tmp_path: Path) -> None:
    rules = {
        "require_https": False,
        "allowed_domains": ["*.example.com"],
        "allowed_ports": [8443],
        "max_url_length": 40,
        "disable_loopback": False,
    }
    policy = url_policy(WebhooksSection(), project(tmp_path, webhooks={"url": rules}))
    assert not refuses(policy, "http://a.example.com:8443/") and not refuses(policy, "/hook")
    for url in ("http://a.example.com/", "http://example.org:8443/", "http://a.example.com:8443/" + "x" * 40):
        assert refuses(policy, url)


def test_webhooks_that_the_project_switches_off_are_refused(tmp_path: Path) -> None:
    assert refuses(url_policy(WebhooksSection(), project(tmp_path, http={"disable_webhooks": True})), "https://example.com/")


def test_headers_are_filled_from_variables_and_one_that_is_not_set_is_named(tmp_path: Path) -> None:
    written = project(tmp_path, webhooks={"headers": {"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}", "X-A": "b"}})
    assert headers(written, {"LG_WEBHOOK_TOKEN": "s3cret"}) == {"Authorization": "Bearer s3cret", "X-A": "b"}
    assert headers(None, {}) == {} and headers(project(tmp_path), {}) == {}
    with pytest.raises(ConfigError, match="LG_WEBHOOK_TOKEN is not set"):
        headers(written, {})


@pytest.mark.parametrize("entry", ["http://hooks.lan", "10.0.0.0/99", "10.0.0.1/16", "hooks lan", ""])
def test_an_entry_that_is_neither_host_nor_network_is_refused_when_the_file_is_read(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_private"):
        WebhooksSection(allow_private=(entry,))
