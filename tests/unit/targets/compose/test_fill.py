"""Placeholders as containers know them."""

from __future__ import annotations

import pytest

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import plan
from freehold.targets.compose.fill import Filler, Missing, has_secret

STACK = plan(
    Settings.model_validate({"stack": {"target": "compose", "services": ["pooler"]}}), Machine("Linux", "x86_64", 8, 16 * GIB), version="1"
)


def filler(service: str) -> Filler:
    found = STACK.service(service)
    assert found is not None
    return Filler(STACK, found, "/var/cache/freehold/models/m.gguf" if service == "model" else None)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${host:model} ${port:model} ${address:model}", "model 8000 model:8000"),
        ("${listen}:${port:server}", "0.0.0.0:8123"),
        ("${files}/x ${ready}", "/etc/freehold/server/x /run/freehold/ready"),
        ("${data:postgres} ${sockets:postgres}", "/var/lib/postgresql/18/docker /var/run/postgresql"),
        ("${data:valkey} ${data:models} ${data:edge}", "/data /var/cache/freehold /data/edge"),
        ("${secret_file:valkey} a${secret:valkey}b", "/run/secrets/valkey a{{secret:valkey}}b"),
        ("x://u@/db?host=${host:postgres}", "x://u@postgres:5432/db"),
        ("x://u@/db?host=${host:pooler}&port=6432", "x://u@pooler:6432/db"),
        ("x://u@/db?host=${host:postgres}&sslmode=disable", "x://u@postgres:5432/db?sslmode=disable"),
        ("$host ${ENV}", "$host ${ENV}"),
    ],
)
def test_a_placeholder_is_what_it_is_in_containers(text: str, filled: str) -> None:
    assert filler("server").fill(text) == filled


def test_a_container_asks_itself() -> None:
    assert filler("model").asked("http://${address:model}/health") == "http://127.0.0.1:8000/health"
    assert filler("edge").asked("http://${address:edge.redirect}/x") == "http://127.0.0.1:80/x"


@pytest.mark.parametrize("text", ["${address:nobody}", "${model}"])
def test_what_nothing_fills_is_said(text: str) -> None:
    with pytest.raises(Missing):
        filler("server").fill(text)


def test_a_file_with_a_secret_is_read_where_it_was_filled() -> None:
    assert filler("valkey").fill("${files}/valkey.conf") == "/run/freehold/valkey.conf"
    assert filler("postgres").fill("${files}/pg_hba.conf") == "/etc/freehold/postgres/pg_hba.conf"


@pytest.mark.parametrize(("text", "has"), [("${secret:a}", True), ("{{secret:a}}", True), ("${secret_file:a}", False), ("secret:a", False)])
def test_secrets_in_texts_are_seen(text: str, has: bool) -> None:
    assert has_secret(text) is has
