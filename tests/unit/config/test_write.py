"""Settings written as TOML are the same settings when they are read, but for what is secret."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.unit.config.test_example import UNCOMMENTED

from freehold.config.load import load
from freehold.config.settings import Settings
from freehold.config.write import without_secrets

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples" / "stacks").glob("*/freehold.toml"))


def read(text: str, folder: Path) -> Settings:
    path = folder / "freehold.toml"
    path.write_text(text)
    return load(path, environ={}).settings


def test_defaults_need_no_words() -> None:
    assert without_secrets(Settings()) == "\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_comes_back_as_it_was(path: Path, tmp_path: Path) -> None:
    settings = load(path, environ={}).settings
    assert read(without_secrets(settings), tmp_path) == settings


@pytest.mark.parametrize("text", ['with "quotes" and \\ and \t', "ünï", "a\nb", "]", "# x"])
def test_any_text_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"model": {"name": text}, "tools": {"sql": {"schemas": [text, "b"]}}})
    assert read(without_secrets(settings), tmp_path) == settings


def test_no_secret_is_written_whatever_is_set() -> None:
    tree = tomllib.loads(UNCOMMENTED)
    tree["database"]["url"] = "postgresql://u:hush@db/x"
    written = without_secrets(Settings.model_validate(tree))
    assert "hush" not in written
    assert "sk-..." not in written
    assert "api_key = " not in written


def test_what_is_left_out_is_not_written(tmp_path: Path) -> None:
    settings = Settings.model_validate({"stack": {"name": "x"}, "agents": {"config": "a.json", "shipped": False}, "server": {"port": 1}})
    assert without_secrets(settings, leave_out=frozenset({"stack", "agents.config"})) == "[server]\nport = 1\n\n[agents]\nshipped = false\n"
