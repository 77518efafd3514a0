"""Reading a `langgraph.json`: what it asks for, as a value, before any of the user's code runs.

Every key of the published schema is either honoured, accepted as meaningless here, or refused by name; none is dropped
silently. Unknown keys become findings, because newer tools add new ones.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from packaging.requirements import InvalidRequirement, Requirement

from freehold.core.errors import ConfigError, NotSupported

#: Keys that only shape a container image or an installer; a server that runs the project in place needs none of them.
ACCEPTED_WITHOUT_EFFECT = frozenset(
    {
        "$schema",
        "_INTERNAL_docker_tag",
        "api_version",
        "base_image",
        "dockerfile_lines",
        "image_distro",
        "keep_pkg_tools",
        "pip_config_file",
        "pip_installer",
        "python_version",
        "source",
    }
)

#: Keys that change behaviour and are not built: key -> what to do instead.
REFUSED: Mapping[str, str] = {
    "auth": 'remove it; callers are known by server.auth = "keys" in freehold.toml',
    "checkpointer": "remove it; threads are kept in Postgres and deleted through the API",
    "encryption": "remove it, and use an encrypted disk or database",
    "http": "remove it; origins are set by server.cors_origins in freehold.toml",
    "node_version": "only Python graphs can be served",
    "priority": "remove it; runs are taken in the order they came",
    "store": "remove it; the store works without an index",
    "ui": "remove it; no interface components are served",
    "ui_config": "remove it; no interface components are served",
    "webhooks": "remove it; no webhooks are sent",
}

_HONOURED = frozenset({"graphs", "dependencies", "env"})
_PYTHON_FILE = re.compile(r"\.py$")


@dataclass(frozen=True)
class GraphReference:
    """One entry of `graphs`: `./src/agent.py:graph` is file `<project>/src/agent.py`, attribute `graph`."""

    graph_id: str
    target: Path | str  # a file, or a dotted module
    attribute: str
    source: str  # as written
    description: str | None = None


@dataclass(frozen=True)
class Project:
    """A parsed `langgraph.json`; nothing was imported and nothing in the process changed."""

    file: Path
    graphs: tuple[GraphReference, ...]
    import_paths: tuple[Path, ...]
    requirements: Mapping[str, str]  # requirement -> the file that asks for it
    environment: Mapping[str, str]
    findings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.file.parent


def read_project(path: Path) -> Project:
    """Parse a `langgraph.json` (or the one in a folder).

    Raises:
        ConfigError: the file is missing, not JSON, or a value has the wrong shape; the message names the key.
        NotSupported: a key that changes behaviour and is not built here.
    """
    named = path / "langgraph.json" if path.is_dir() else path
    file = named.parent.resolve() / named.name
    content = _read_json(file)
    _refuse(file, content)
    dependencies = _strings(file, "dependencies", content.get("dependencies") or [])
    local = [entry for entry in dependencies if _is_path(entry)]
    folders = [_folder(file, entry) for entry in local]
    unknown = sorted(set(content) - _HONOURED - ACCEPTED_WITHOUT_EFFECT - set(REFUSED))
    return Project(
        file=file,
        graphs=_graphs(file, content.get("graphs")),
        import_paths=_import_paths(file.parent, folders),
        requirements=_requirements(file, [entry for entry in dependencies if not _is_path(entry)], folders),
        environment=_environment(file, content.get("env") or {}),
        findings=tuple(f'{file.name}: unknown key "{key}" has no effect' for key in unknown),
    )


def missing_requirements(project: Project) -> dict[str, str]:
    """Requirements of the project this environment does not meet: requirement -> why and what to run."""
    problems: dict[str, str] = {}
    for text, origin in project.requirements.items():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # an installer's option or URL, which only an installer understands
        if requirement.marker and not requirement.marker.evaluate():
            continue
        command = f"`pip install '{requirement.name}{requirement.specifier}'` in the environment that runs Freehold"
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems[requirement.name] = f"{requirement.name} is asked for by {origin} but not installed; run {command}"
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            problems[requirement.name] = (
                f"{requirement.name} {installed} is installed but {origin} asks for {requirement.specifier}; run {command}"
            )
    return problems


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {file}", hint="`freehold init` makes a new agent project") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected an object with the key graphs, got {_shape(content)}")
    return content


def _refuse(file: Path, content: Mapping[str, Any]) -> None:
    for key, instead in REFUSED.items():
        if content.get(key):
            raise NotSupported(f'{file}: "{key}" is not supported', hint=instead)


def _graphs(file: Path, graphs: object) -> tuple[GraphReference, ...]:
    if not isinstance(graphs, dict) or not graphs:
        raise ConfigError(
            f'{file}: graphs: expected at least one graph, e.g. {{"agent": "./agent.py:graph"}}, got {_shape(graphs)}',
        )
    return tuple(_reference(file, graph_id, value) for graph_id, value in graphs.items())


def _reference(file: Path, graph_id: str, value: object) -> GraphReference:
    description = None
    if isinstance(value, dict):
        description = value.get("description")
        value = value.get("path")
    if not isinstance(value, str):
        raise ConfigError(f'{file}: graphs.{graph_id}: expected "path.py:variable" or {{"path": …, "description": …}}, got {_shape(value)}')
    target, separator, attribute = value.rpartition(":")
    if not separator or not target or not attribute.isidentifier():
        raise ConfigError(f'{file}: graphs.{graph_id}: expected "path.py:variable" or "module:variable", got "{value}"')
    is_module = not _PYTHON_FILE.search(target) and "/" not in target and "\\" not in target
    place: Path | str = target if is_module else (file.parent / target).resolve()
    return GraphReference(graph_id, place, attribute, value, description if isinstance(description, str) else None)


def _strings(file: Path, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{file}: {key}: expected a list of strings, e.g. ["."], got {_shape(value)}')
    return value


def _is_path(entry: str) -> bool:
    return entry.startswith((".", "/"))


def _folder(file: Path, entry: str) -> Path:
    folder = (file.parent / entry).resolve()
    if not folder.is_dir():
        raise ConfigError(f'{file}: dependencies: no such folder: "{entry}"')
    return folder


def _import_paths(project: Path, folders: list[Path]) -> tuple[Path, ...]:
    """A folder that is itself a package is imported from its parent; `src` layouts from `src`."""
    paths: list[Path] = []
    for folder in [*folders, project]:
        paths += [folder / "src"] if (folder / "src").is_dir() else []
        paths += [folder]
        is_installed_by_pip = (folder / "pyproject.toml").exists() or (folder / "setup.py").exists()
        if folder != project and not is_installed_by_pip:
            paths += [folder.parent]
    return tuple(dict.fromkeys(paths))


def _requirements(file: Path, named: list[str], folders: list[Path]) -> dict[str, str]:
    found = {entry: file.name for entry in named}
    for folder in folders:
        listed = folder / "requirements.txt"
        if listed.is_file():
            lines = (line.split(" #")[0].strip() for line in listed.read_text(encoding="utf-8").splitlines())
            found |= {line: listed.name for line in lines if line and not line.startswith(("#", "-"))}
        described = folder / "pyproject.toml"
        if described.is_file():
            found |= {entry: described.name for entry in _project_dependencies(described)}
    return found


def _project_dependencies(file: Path) -> list[str]:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    return [entry for entry in project.get("dependencies", []) if isinstance(entry, str)]


def _environment(file: Path, env: object) -> dict[str, str]:
    if isinstance(env, dict):
        if wrong := [key for key, value in env.items() if not isinstance(value, str)]:
            raise ConfigError(f"{file}: env.{wrong[0]}: expected a string, got {_shape(env[wrong[0]])}")
        return env
    if not isinstance(env, str):
        raise ConfigError(f"{file}: env: expected a file path or an object of strings, got {_shape(env)}")
    values = file.parent / env
    if not values.is_file():
        raise ConfigError(f'{file}: env: no such file: "{env}"', hint=f"create {values} with lines such as NAME=value, or remove the key")
    return {key: value for key, value in dotenv_values(values).items() if value is not None}


def _shape(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:60]
