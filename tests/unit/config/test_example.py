"""The annotated example is the manual: it names every key, with the meaning and the default the code has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from freehold.config.load import load
from freehold.config.model import FurtherModelSection, ModelSection
from freehold.config.section import Section
from freehold.config.settings import Settings

EXAMPLE = (files("freehold.config") / "example.toml").read_text(encoding="utf-8")
UNCOMMENTED = re.sub(r"^# ([a-z_]+ = |\[)", r"\1", EXAMPLE, flags=re.MULTILINE)

#: A table under a name of the user's, with the keys that are not those of the table it is like.
FURTHER_MODEL = "models.coder"


def keys(section: BaseModel = Settings(), prefix: str = "") -> Iterator[tuple[str, str, object]]:
    """Every key as (dotted name, meaning, default)."""
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from keys(value, f"{prefix}{name}.")
        elif name == "models":
            like = ModelSection.model_fields
            for key, own in FurtherModelSection.model_fields.items():
                if (own.description, own.default) != (like[key].description, like[key].default):
                    yield f"{FURTHER_MODEL}.{key}", own.description or "", own.default
        else:
            yield f"{prefix}{name}", info.description or "", value


def lookup(tree: dict[str, object], key: str) -> object:
    for part in key.split("."):
        assert isinstance(tree, dict) and part in tree, f"{key} is missing in example.toml"
        tree = tree[part]  # type: ignore[assignment]
    return tree


def line_of(key: str) -> int:
    """Index of the commented line of a key within its section."""
    section, _, name = key.rpartition(".")
    lines = EXAMPLE.splitlines()
    start = lines.index(f"# [{section}]" if section == FURTHER_MODEL else f"[{section}]")
    return next(i for i, line in enumerate(lines) if i > start and line.startswith(f"# {name} = "))


def test_as_it_is_it_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "freehold.toml"
    path.write_text(EXAMPLE)
    assert load(path, environ={}).settings == Settings()


def test_uncommented_it_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "freehold.toml"
    path.write_text(UNCOMMENTED.replace(f"[{FURTHER_MODEL}]", f'[{FURTHER_MODEL}]\nname = "qwen2.5-coder-1.5b-instruct"'))
    assert load(path, environ={}).settings.model.base_url == "http://gpu-box:8000/v1"


@pytest.mark.parametrize(("key", "about", "default"), list(keys()), ids=lambda value: value if isinstance(value, str) else "")
def test_each_key_stands_there_with_its_default_and_meaning(key: str, about: str, default: object) -> None:
    assert about, f"{key} has no docstring in settings.py"
    shown = lookup(tomllib.loads(UNCOMMENTED), key)
    lines = EXAMPLE.splitlines()
    example_only = lines[line_of(key)].endswith("  # an example; not set by default")
    assert example_only is (default is None)
    if default is not None:
        assert (tuple(shown) if isinstance(shown, list) else shown) == default
    assert lines[line_of(key) - 1] == f"# {' '.join(about.split())}"


def test_it_names_no_key_that_does_not_exist() -> None:
    def names(tree: dict[str, object], prefix: str = "") -> Iterator[str]:
        for name, value in tree.items():
            yield from names(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]

    assert sorted(names(tomllib.loads(UNCOMMENTED))) == sorted(key for key, _, _ in keys())


def test_secrets_are_secret_types() -> None:
    secret = {key for key, _, _ in keys() if key.rsplit(".", 1)[-1] in {"url", "api_key"}}
    settings = load(
        environ={"DATABASE_URL": "postgresql://u:hidden@/d", "REDIS_URL": "redis://:hidden@h", "OPENAI_API_KEY": "hidden"}
    ).settings
    assert secret == {"database.url", "redis.url", "tools.sql.url", "model.api_key", "models.coder.api_key"}
    assert isinstance(settings.database.url, SecretStr) and "hidden" not in repr(settings)
