"""The published schema accepts what the loader accepts, and refuses what it refuses."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from tests.unit.config.test_example import UNCOMMENTED

from freehold.config.schema import schema

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_example_is_valid_by_it() -> None:
    assert list(VALIDATOR.iter_errors(tomllib.loads(UNCOMMENTED))) == []


@pytest.mark.parametrize(
    "text", ["[server]\nprot = 1", "[server]\nport = 70000", '[stack]\ntarget = "swarm"', "server = 1", '[stack]\nservices = ["edg"]']
)
def test_what_the_loader_refuses_is_refused(text: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(text))


def test_every_key_says_what_it_is_for() -> None:
    silent = [
        f"{name}.{key}"
        for name, section in schema()["$defs"].items()
        for key, value in section["properties"].items()
        if "description" not in value and not any("$ref" in part for part in (value, *value.get("allOf", ())))
    ]
    assert silent == []


def test_the_published_file_is_it() -> None:
    root = Path(str(files("freehold"))).parents[1]
    assert (root / "docs" / "reference" / "freehold.schema.json").is_file()
