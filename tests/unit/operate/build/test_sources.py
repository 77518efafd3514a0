"""What of a project is carried elsewhere: its code, and none of its secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freehold.graphs.project import read_project
from freehold.operate.build.sources import Sources, collect

SECRETS = (".env", ".env.local", "prod.env", "id_rsa", "server.pem", "key.key", ".netrc", "pip.conf", "credentials.json", "vars")
CACHES = (".git/config", "__pycache__/agent.pyc", ".venv/lib/x.py", "node_modules/x.js", ".freehold/data", "own/pyvenv.cfg", "own/lib.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "My Agent"
    project.mkdir()
    for name in (*SECRETS, *CACHES, "agent.py", "src/pkg/__init__.py", "data/words.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("A=secret-value\n" if name == "vars" else name)
    (tmp_path / "outside.txt").write_text("outside")
    (project / "link.txt").symlink_to(tmp_path / "outside.txt")
    (project / "langgraph.json").write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, "env": "vars", "dependencies": ["."]}))
    return project


def sources(folder: Path) -> Sources:
    return collect(read_project(folder), folder / "build")


def test_code_and_data_are_carried_and_secrets_and_caches_are_not(folder: Path) -> None:
    (folder / "build" / "image").mkdir(parents=True)
    (folder / "build" / "image" / "Dockerfile").write_text("FROM x")
    found = sources(folder)
    assert set(found.files) == {"agent.py", "src/pkg/__init__.py", "data/words.txt", "langgraph.json"}
    assert b"secret-value" not in b"".join(found.files.values())


def test_what_belongs_to_a_stack_is_not_carried(folder: Path) -> None:
    """A Compose folder in the project, as the manual has it, would else end in the image that is built in it, secrets and all."""
    for marker, stack in ((".freehold-compose", "deploy"), (".freehold-state", "state")):
        (folder / stack / "secrets").mkdir(parents=True)
        (folder / stack / marker).touch()
        (folder / stack / "secrets" / "api_key").write_text("hush")
    for name in ("freehold.prod.toml", "freehold-2026-11-22.backup", "people"):
        (folder / name).write_text("hush")
    (folder / "freehold.toml").write_text('[edge]\nauth = "basic"\nusers = "people"\n# hush')
    found = sources(folder)
    assert set(found.files) == {"agent.py", "src/pkg/__init__.py", "data/words.txt", "langgraph.json"}
    assert b"hush" not in b"".join(found.files.values())


def test_langgraph_json_is_carried_without_its_variables(folder: Path) -> None:
    assert json.loads(sources(folder).files["langgraph.json"]) == {"graphs": {"agent": "./agent.py:graph"}, "dependencies": ["."]}


def test_it_is_named_after_its_folder_or_its_package(folder: Path) -> None:
    assert sources(folder).name == "my-agent-agents"
    (folder / "pyproject.toml").write_text('[project]\nname = "Trans_lator"\nversion = "1.2"\n')
    found = sources(folder)
    assert (found.name, found.version.partition("+")[0]) == ("trans-lator-agents", "1.2")


def test_the_version_says_what_is_in_it(folder: Path) -> None:
    before = sources(folder).version
    assert sources(folder).version == before
    (folder / "agent.py").write_text("changed")
    assert sources(folder).version != before
