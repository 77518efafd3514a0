"""The sections of langgraph.json as values: what a full file says, and how a wrong value is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.core.errors import ConfigError
from freehold.graphs.project_config import BUILD_KEYS, SECTION_KEYS, BuildConfig, Sections, WebhooksConfig, parse, unknown_keys

FILE = Path("langgraph.json")

#: Every key of the published schema with a value of its own.
FULL: dict[str, Any] = {
    "store": {
        "index": {"dims": 384, "embed": "openai:text-embedding-3-small", "fields": ["title", "body"]},
        "ttl": {"refresh_on_read": False, "default_ttl": 60, "sweep_interval_minutes": 10},
    },
    "checkpointer": {
        "path": "./saver.py:make",
        "ttl": {"strategy": "keep_latest", "default_ttl": 43200, "sweep_interval_minutes": 10, "sweep_limit": 50},
        "serde": {"allowed_msgpack_modules": [["my.models", "State"]], "allowed_json_modules": True, "pickle_fallback": False},
    },
    "auth": {
        "path": "./auth.py:auth",
        "disable_studio_auth": True,
        "openapi": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
            "security": [{"key": []}],
            "paths": {"/private": {"GET": [{"key": ["read"]}]}},
        },
        "cache": {"cache_keys": ["authorization"], "ttl_seconds": 30, "max_size": 100},
    },
    "http": {
        "app": "./app.py:app",
        "disable_assistants": True,
        "disable_threads": True,
        "disable_runs": True,
        "disable_store": True,
        "disable_mcp": True,
        "disable_a2a": True,
        "disable_meta": True,
        "disable_ui": True,
        "disable_webhooks": True,
        "cors": {
            "allow_origins": ["https://example.com"],
            "allow_origin_regex": "https://.*\\.example\\.com",
            "allow_methods": ["GET"],
            "allow_headers": ["x-tenant"],
            "allow_credentials": True,
            "expose_headers": ["x-seen"],
            "max_age": 5,
        },
        "configurable_headers": {"includes": ["x-tenant-*"], "excludes": ["*key*"]},
        "logging_headers": {"includes": ["x-tenant-*"], "excludes": ["*key*"]},
        "middleware_order": "auth_first",
        "enable_custom_route_auth": True,
        "mount_prefix": "/agents/v1",
    },
    "webhooks": {
        "env_prefix": "HOOK_",
        "url": {
            "require_https": True,
            "allowed_domains": ["*.example.com"],
            "allowed_ports": [443],
            "max_url_length": 100,
            "disable_loopback": True,
        },
        "headers": {"authorization": "Bearer ${{ env.HOOK_TOKEN }}"},
    },
    "encryption": {"path": "./encryption.py:encryption"},
    "priority": {"path": "./priority.py:priority"},
    "ui": {"agent": "./ui.tsx"},
    "ui_config": {"shared": ["react"]},
}

BUILD: dict[str, Any] = {
    "python_version": "3.12",
    "node_version": "20",
    "base_image": "python:3.12-slim",
    "image_distro": "bookworm",
    "dockerfile_lines": ["RUN true"],
    "pip_config_file": "pip.conf",
    "pip_installer": "uv",
    "keep_pkg_tools": ["pip"],
    "source": {"kind": "uv", "root": ".", "package": "agent"},
    "api_version": "0.5",
}


def sections(content: dict[str, Any]) -> Sections:
    return parse(Sections, content, SECTION_KEYS, FILE)


def build(content: dict[str, Any]) -> BuildConfig:
    return parse(BuildConfig, content, BUILD_KEYS, FILE)


@pytest.mark.parametrize(("parsed", "content"), [(sections(FULL), FULL), (build(BUILD), BUILD)])
def test_every_key_of_the_schema_arrives_as_it_was_written(parsed: Any, content: dict[str, Any]) -> None:
    assert parsed.model_dump(mode="json") == content
    assert list(unknown_keys(parsed)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"store": []}, "store: expected an object, got []"),
        ({"store": {"index": {"dims": "3", "embed": "x"}}}, 'store.index.dims: expected a whole number, got "3"'),
        ({"store": {"index": {"embed": "a:b"}}}, "store.index.dims: expected a value, got nothing"),
        ({"store": {"ttl": {"default_ttl": 0}}}, "store.ttl.default_ttl: expected greater than 0, got 0"),
        (
            {"checkpointer": {"ttl": {"strategy": "forget"}}},
            "checkpointer.ttl.strategy: expected 'delete' or 'keep_latest'",
        ),
        ({"checkpointer": {"serde": {"pickle_fallback": "no"}}}, "checkpointer.serde.pickle_fallback: expected true or false"),
        ({"checkpointer": {"serde": {"allowed_msgpack_modules": ["a"]}}}, "checkpointer.serde.allowed_msgpack_modules.0: expected a list"),
        (
            {"checkpointer": {"serde": {"allowed_msgpack_modules": True}}},
            "checkpointer.serde.allowed_msgpack_modules: expected a list, got true",
        ),
        ({"auth": {}}, "auth.path: expected a value, got nothing"),
        ({"auth": {"path": "auth.py"}}, 'auth.path: expected "path.py:variable" or "module:variable", got "auth.py"'),
        ({"http": {"app": "app.py:"}}, 'http.app: expected "path.py:variable"'),
        ({"http": {"cors": {"allow_origin_regex": "("}}}, "http.cors.allow_origin_regex: expected a regular expression"),
        ({"http": {"cors": {"allow_origins": "*"}}}, 'http.cors.allow_origins: expected a list, got "*"'),
        ({"http": {"middleware_order": "last"}}, "http.middleware_order: expected 'auth_first' or 'middleware_first'"),
        ({"http": {"mount_prefix": "api"}}, 'http.mount_prefix: expected a path such as "/api", got "api"'),
        ({"http": {"mount_prefix": "/../x"}}, "http.mount_prefix: expected a path"),
        ({"webhooks": {"url": {"allowed_ports": [0]}}}, "webhooks.url.allowed_ports.0: expected greater than or equal to 1"),
        ({"webhooks": {"headers": {"a": "${{ env.HOME }}"}}}, "webhooks.headers.a: expected variables that begin with LG_WEBHOOK_"),
        ({"webhooks": {"headers": {"a": "b\nc"}}}, "webhooks.headers: expected a header of one line"),
        ({"ui": {"agent": 1}}, "ui.agent: expected text, got 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        sections(content)
    assert f"langgraph.json: {message}" in error.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"python_version": "3.9"}, 'python_version: expected a version such as "3.12", got "3.9"'),
        ({"image_distro": "arch"}, "image_distro: expected 'debian', 'bookworm' or 'wolfi'"),
        ({"dockerfile_lines": "RUN true"}, "dockerfile_lines: expected a list"),
        ({"keep_pkg_tools": ["poetry"]}, "keep_pkg_tools.0: expected 'pip', 'setuptools' or 'wheel'"),
    ],
)
def test_a_wrong_value_about_images_is_named_with_its_key(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(content)
    assert f"langgraph.json: {message}" in error.value.message


def test_all_wrong_values_are_listed() -> None:
    with pytest.raises(ConfigError) as error:
        sections({"store": [], "http": {"app": 1}})
    assert len(error.value.message.splitlines()) == 2


def test_keys_nobody_knows_are_found_however_deep() -> None:
    found = sections({"http": {"cors": {"max_aeg": 1}, "apps": "x"}, "store": {"idx": {}}})
    assert sorted(unknown_keys(found)) == ["http.apps", "http.cors.max_aeg", "store.idx"]


def test_null_is_as_good_as_left_out() -> None:
    assert sections({"store": None, "http": {"cors": {"max_age": None}}}).http == sections({"http": {"cors": {}}}).http


def test_headers_of_webhooks_are_filled_from_allowed_variables_alone() -> None:
    parsed = sections({"webhooks": {"headers": {"a": "x ${{ env.LG_WEBHOOK_A }}-${{env.LG_WEBHOOK_B}}", "b": "${HOME}"}}}).webhooks
    assert isinstance(parsed, WebhooksConfig)
    assert parsed.filled_headers({"LG_WEBHOOK_A": "1", "LG_WEBHOOK_B": "2"}) == {"a": "x 1-2", "b": "${HOME}"}
    with pytest.raises(ConfigError, match="LG_WEBHOOK_B is not set"):
        parsed.filled_headers({"LG_WEBHOOK_A": "secret"})
