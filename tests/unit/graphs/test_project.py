"""Reading langgraph.json: what is honoured, what is refused by name, what is said about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.core.errors import ConfigError, NotSupported
from freehold.graphs import requirements
from freehold.graphs.project import REFUSED, read_project

GRAPHS = {"agent": "./agent.py:graph"}


def write(folder: Path, content: object) -> Path:
    file = folder / "langgraph.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_graphs_are_files_or_modules_with_a_name_in_them(tmp_path: Path) -> None:
    graphs = {"a": "./src/agent.py:graph", "b": "package.module:make", "c": {"path": "./c.py:graph", "description": "Answers."}}
    project = read_project(write(tmp_path, {"graphs": graphs}))
    a, b, c = project.graphs
    assert (a.target, a.attribute, a.source) == (tmp_path.resolve() / "src/agent.py", "graph", "./src/agent.py:graph")
    assert (b.target, b.attribute) == ("package.module", "make")
    assert (c.graph_id, c.description) == ("c", "Answers.")


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"graphs": GRAPHS})
    assert read_project(tmp_path).file == tmp_path.resolve() / "langgraph.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ({}, "graphs: expected at least one graph"),
        ({"graphs": {}}, "graphs: expected at least one graph"),
        ({"graphs": []}, "graphs: expected at least one graph"),
        ({"graphs": {"a": "agent.py"}}, 'graphs.a: expected "path.py:variable"'),
        ({"graphs": {"a": ":graph"}}, "graphs.a: expected"),
        ({"graphs": {"a": "agent.py:"}}, "graphs.a: expected"),
        ({"graphs": {"a": "agent.py:not a name"}}, "graphs.a: expected"),
        ({"graphs": {"a": 1}}, "graphs.a: expected"),
        ({"graphs": {"a": {"description": "x"}}}, "graphs.a: expected"),
        ({"graphs": GRAPHS, "dependencies": "."}, "dependencies: expected a list"),
        ({"graphs": GRAPHS, "dependencies": [1]}, "dependencies: expected a list"),
        ({"graphs": GRAPHS, "dependencies": ["./missing"]}, 'no such folder: "./missing"'),
        ({"graphs": GRAPHS, "env": "missing.env"}, 'env: no such file: "missing.env"'),
        ({"graphs": GRAPHS, "env": {"A": 1}}, "env.A: expected a string"),
        ({"graphs": GRAPHS, "env": [1]}, "env: expected a file path"),
        ({"graphs": GRAPHS, "http": {"cors": {"max_age": "x"}}}, 'http.cors.max_age: expected a whole number, got "x"'),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_project(write(tmp_path, content))
    assert message in error.value.message
    assert "langgraph.json" in error.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_project(tmp_path / "langgraph.json")


#: Something well-formed for each key that is refused.
ASKED: dict[str, Any] = {
    "auth": {"path": "./auth.py:auth"},
    "checkpointer.path": "./saver.py:make",
    "checkpointer.serde.allowed_json_modules": [["a", "B"]],
    "checkpointer.serde.pickle_fallback": True,
    "node_version": "20",
    "priority": {"path": "./priority.py:priority"},
    "store": {"ttl": {"default_ttl": 5}},
    "store.index": {"dims": 3, "embed": "./embed.py:embed"},
    "store.ttl": {"default_ttl": 5},
    "ui": {"agent": "./ui.tsx"},
    "ui_config": {"shared": ["react"]},
}


def nested(key: str, value: object) -> dict[str, Any]:
    """`nested("a.b", 1)` is `{"a": {"b": 1}}`."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_a_key_that_would_change_behaviour_is_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(NotSupported) as refusal:
        read_project(write(tmp_path, {"graphs": GRAPHS, **nested(key, ASKED[key])}))
    assert f'"{key}"' in refusal.value.message
    assert refusal.value.hint == REFUSED[key]


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_an_empty_value_asks_for_nothing(tmp_path: Path, key: str) -> None:
    assert read_project(write(tmp_path, {"graphs": GRAPHS, **nested(key, None)})).findings == ()


def test_an_unknown_key_is_a_finding(tmp_path: Path) -> None:
    assert read_project(write(tmp_path, {"graphs": GRAPHS, "grphs": {}})).findings == ('langgraph.json: unknown key "grphs" has no effect',)


def test_the_environment_is_a_file_or_a_mapping(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\nNAME='a value'\nEMPTY=\n")
    assert read_project(write(tmp_path, {"graphs": GRAPHS, "env": ".env"})).environment == {"NAME": "a value", "EMPTY": ""}
    assert read_project(write(tmp_path, {"graphs": GRAPHS, "env": {"NAME": "b"}})).environment == {"NAME": "b"}


def test_local_dependencies_join_the_import_path(tmp_path: Path) -> None:
    for folder in ("src", "plain", "installed/src"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "installed/pyproject.toml").write_text('[project]\nname = "installed"\nversion = "1"\n')
    root = tmp_path.resolve()
    project = read_project(write(tmp_path, {"graphs": GRAPHS, "dependencies": [".", "./plain", "./installed"]}))
    assert project.import_paths == (root / "src", root, root / "plain", root / "installed/src", root / "installed")


def test_requirements_that_are_not_met_name_the_package_and_the_command(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# comment\npydantic>=2 # fine\n-r other.txt\nabsent-package-xyz==1.0\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["pydantic>=99", "other-absent; python_version < \'3\'"]\n')
    project = read_project(write(tmp_path, {"graphs": GRAPHS, "dependencies": [".", "named-absent-xyz"]}))
    problems = requirements.missing(project.requirements)
    assert sorted(problems) == ["absent-package-xyz", "named-absent-xyz", "pydantic"]
    assert "asked for by requirements.txt but not installed" in problems["absent-package-xyz"]
    assert "`pip install 'absent-package-xyz==1.0'`" in problems["absent-package-xyz"]
    assert "asked for by langgraph.json" in problems["named-absent-xyz"]
    assert "is installed but pyproject.toml asks for >=99" in problems["pydantic"]
