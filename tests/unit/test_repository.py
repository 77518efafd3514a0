"""What the repository says about itself is true: rooms, lock file, names."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "freehold"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def described_rooms() -> dict[str, str]:
    """Room -> its line in ARCHITECTURE.md."""
    rows = re.findall(r"^\| (`[a-z`· ]+`) \| (.+) \|$", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.MULTILINE)
    return {name: about for names, about in rows for name in re.findall(r"[a-z]+", names)}


def test_architecture_describes_every_room_and_no_other() -> None:
    modules = {"asgi", "bootstrap"}
    assert sorted(described_rooms().keys() - modules) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_of_itself_what_architecture_says(room: str) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    line = " ".join(docstring.split("\n\n")[0].split())
    assert line and line in described_rooms()[room]


def test_every_module_says_why_it_exists() -> None:
    bare = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert bare == []


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "managers", "manager", "misc"}
    assert [path for path in PACKAGE.rglob("*") if path.stem in vague] == []


def test_the_import_contract_names_every_room() -> None:
    layers = {name.strip() for layer in PROJECT["tool"]["importlinter"]["contracts"][0]["layers"] for name in layer.split("|")}
    assert layers == {*ROOMS, "asgi", "bootstrap"}


def locked() -> dict[str, set[str]]:
    """Name -> versions the lock file pins (one for each Python it distinguishes)."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, flags=re.MULTILINE):
        pins.setdefault(name, set()).add(version)
    return pins


@pytest.mark.parametrize("text", [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]])
def test_the_lock_file_satisfies_what_the_project_asks_for(text: str) -> None:
    wanted = Requirement(text)
    versions = locked().get(wanted.name.lower().replace("_", "-"), set())
    assert versions and all(wanted.specifier.contains(version) for version in versions), "run `make lock`"


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", ["requirements.lock", "tests/js/package-lock.json"])
def test_lock_files_name_no_host_and_no_local_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"\"resolved\"|--(?:extra-)?index-url|--find-links|file:|@ http", text) == []
