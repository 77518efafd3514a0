"""SearXNG as a value."""

from __future__ import annotations

import json
from typing import Any

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import plan
from freehold.stack.service import Service

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)


def searxng(**search: Any) -> Service:
    tree = {"stack": {"services": ["search"]}, "search": search}
    found = plan(Settings.model_validate(tree), CPU, version="1").service("searxng")
    assert found is not None
    return found


def settings(**search: Any) -> dict[str, Any]:
    return dict(json.loads(searxng(**search).files[0].text))


def test_programs_get_json() -> None:
    assert settings()["search"]["formats"] == ["html", "json"]


def test_engines_that_are_named_are_the_only_ones_and_switched_on() -> None:
    assert settings()["use_default_settings"] is True
    told = settings(engines=["wikipedia"])
    assert told["use_default_settings"] == {"engines": {"keep_only": ["wikipedia"]}}
    assert told["engines"] == [{"name": "wikipedia", "disabled": False}]


def test_its_key_is_generated_and_never_in_a_file() -> None:
    service = searxng()
    assert service.env["SEARXNG_SECRET"] == "${secret:search_secret}"
    assert "secret" not in service.files[0].text


def test_it_is_reached_from_inside_only() -> None:
    service = searxng()
    assert [(port.host, port.published) for port in service.ports] == [("127.0.0.1", False)]


def test_a_silent_engine_is_left_out_in_time() -> None:
    assert settings(timeout_seconds=2, safe_search="strict")["outgoing"]["request_timeout"] == 2
    assert settings(safe_search="strict")["search"]["safe_search"] == 2
