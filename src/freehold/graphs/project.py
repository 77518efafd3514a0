"""Reading a `langgraph.json`: what it asks for, as a value, before any of the user's code runs.

Every key of the published schema is either honoured, accepted as meaningless here, or refused by name; none is dropped
silently. Unknown keys become findings, because newer tools add new ones. Sections beside the graphs: `project_config.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, NotSupported
from freehold.graphs import requirements
from freehold.graphs.project_config import (
    BUILD_KEYS,
    SECTION_KEYS,
    AuthConfig,
    BuildConfig,
    CheckpointerConfig,
    EncryptionConfig,
    HttpConfig,
    PriorityConfig,
    Sections,
    StoreConfig,
    WebhooksConfig,
    parse,
    unknown_keys,
)

#: Keys that change behaviour and are not built, with dots between the names of sections: key -> what to do instead.
REFUSED: Mapping[str, str] = {
    "checkpointer.path": "remove it; threads are kept in Postgres",
    "checkpointer.serde.allowed_json_modules": "remove it; checkpoints hold no JSON objects",
    "checkpointer.serde.pickle_fallback": "remove it; reading a pickle runs code, so checkpoints never hold one",
    "node_version": "only Python graphs can be served",
    "priority": "remove it; runs are taken in the order they came",
    "ui": "remove it; no interface components are served",
    "ui_config": "remove it; no interface components are served",
}

_OTHER_KEYS = frozenset({"$schema", "_INTERNAL_docker_tag", "graphs", "dependencies", "env"})
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
    dependencies: tuple[str, ...]  # as written: folders and requirements
    requirements: Mapping[str, str]  # requirement -> the file that asks for it
    environment: Mapping[str, str]
    sections: Sections
    build: BuildConfig
    findings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def store(self) -> StoreConfig | None:
        return self.sections.store

    @property
    def checkpointer(self) -> CheckpointerConfig | None:
        return self.sections.checkpointer

    @property
    def auth(self) -> AuthConfig | None:
        return self.sections.auth

    @property
    def http(self) -> HttpConfig:
        """The defaults where the file has none."""
        return self.sections.http or HttpConfig()

    @property
    def webhooks(self) -> WebhooksConfig | None:
        return self.sections.webhooks

    @property
    def encryption(self) -> EncryptionConfig | None:
        return self.sections.encryption

    @property
    def priority(self) -> PriorityConfig | None:
        return self.sections.priority


def project_of(settings: Settings) -> Path | None:
    """The langgraph.json to serve: the one that is set, else the one in the working directory, else none."""
    usual = Path("langgraph.json")
    return settings.agents.config or (usual if usual.is_file() else None)


def read_project(path: Path) -> Project:
    """Parse a `langgraph.json` (or the one in a folder).

    Raises:
        ConfigError: the file is missing, not JSON, or a value has the wrong shape; the message names the key.
        NotSupported: a key that changes behaviour and is not built here.
    """
    named = path / "langgraph.json" if path.is_dir() else path
    file = named.parent.resolve() / named.name
    content = _read_json(file)
    dependencies = _strings(file, "dependencies", content.get("dependencies") or [])
    local = [entry for entry in dependencies if _is_path(entry)]
    folders = [_folder(file, entry) for entry in local]
    sections, build = parse(Sections, content, SECTION_KEYS, file), parse(BuildConfig, content, BUILD_KEYS, file)
    _refuse(file, content)
    unknown = [*sorted(set(content) - _OTHER_KEYS - SECTION_KEYS - BUILD_KEYS), *unknown_keys(sections), *unknown_keys(build)]
    return Project(
        file=file,
        graphs=_graphs(file, content.get("graphs")),
        import_paths=_import_paths(file.parent, folders),
        dependencies=tuple(dependencies),
        requirements=requirements.collect(file, [entry for entry in dependencies if not _is_path(entry)], folders),
        environment=_environment(file, content.get("env") or {}),
        sections=sections,
        build=build,
        findings=tuple(f'{file.name}: unknown key "{key}" has no effect' for key in unknown),
    )


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
        value: Any = content
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value:
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
    return GraphReference(graph_id, place_of(target, file.parent), attribute, value, description if isinstance(description, str) else None)


def place_of(target: str, folder: Path) -> Path | str:
    """The file that `./agent.py` names in a project's folder, or the dotted module as it is."""
    is_module = not _PYTHON_FILE.search(target) and "/" not in target and "\\" not in target
    return target if is_module else (folder / target).resolve()


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
