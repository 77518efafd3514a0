"""Which files of a project are carried elsewhere: its code and data, none of its secrets, caches and environments."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.core.errors import ConfigError
from freehold.graphs.project import Project
from freehold.targets.compose.write import MARKER as COMPOSE_MARKER
from freehold.targets.native.home import MARKER as HOME_MARKER

#: Folders that are never carried; `.git` may hold what was once a secret.
LEFT_FOLDERS = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".freehold",
        ".langgraph_api",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".tox",
        ".idea",
        ".vscode",
        ".aws",
        ".ssh",
    }
)

#: Names of files that are never carried: compiled code and what secrets are usually kept in.
LEFT_FILES = (
    "*.pyc",
    ".DS_Store",
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".pypirc",
    ".npmrc",
    "pip.conf",
    "credentials*.json",
    "*.sqlite",
    "*.db",
    # what our own commands write and read beside a project
    "freehold.toml",
    "freehold.*.toml",
    "*.backup",
    "*.users",
    "*htpasswd*",
)

#: Lie in folders of a stack, which hold its secrets and its data.
_STACK_MARKERS = (COMPOSE_MARKER, HOME_MARKER)

_MAX_MB = 512
_LONGEST_PATH = 255


@dataclass(frozen=True)
class Sources:
    """A project's files by their path within it, e.g. `src/agent/graph.py`, and what it is called."""

    name: str
    version: str
    files: Mapping[str, bytes]


def collect(project: Project, built: Path) -> Sources:
    """Read what is carried. `built` is where the build is written, which is no part of the project.

    Raises:
        ConfigError: it is too large to be a project, or pyproject.toml is not valid.
    """
    secret = {(project.folder / env).resolve() for env in [_env_file(project)] if env} | _named_by_settings(project.folder)
    files: dict[str, bytes] = {}
    total = 0
    for path in _walk(project.folder, built.resolve()):
        if path.resolve() in secret or path == project.file:
            continue
        content = path.read_bytes()
        total += len(content)
        if total > _MAX_MB * 1024 * 1024:
            raise ConfigError(f"{project.folder} holds more than {_MAX_MB} MB", hint="keep data out of the project's folder")
        files[path.relative_to(project.folder).as_posix()] = content
    files["langgraph.json"] = _configuration(project)
    name, version = _named(project.folder)
    digest = hashlib.sha256(b"".join(key.encode() + b"\0" + hashlib.sha256(value).digest() for key, value in sorted(files.items())))
    return Sources(name, f"{version}+{digest.hexdigest()[:12]}", dict(sorted(files.items())))


def _walk(folder: Path, built: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.resolve() == built or (path.is_symlink() and not path.resolve().is_relative_to(folder)):
            continue
        if path.is_dir():
            if not _is_left(path):
                yield from _walk(path, built)
        elif path.is_file() and not any(fnmatch.fnmatch(path.name, pattern) for pattern in LEFT_FILES):
            yield path


def _is_left(folder: Path) -> bool:
    if folder.name in LEFT_FOLDERS or folder.name.endswith(".egg-info"):
        return True
    return any((folder / name).exists() for name in ("pyvenv.cfg", *_STACK_MARKERS))


def _named_by_settings(folder: Path) -> set[Path]:
    """Files that a freehold.toml of the project names: keys, users, models are the stack's and no part of the agents."""

    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from texts(part)

    named = set()
    for file in folder.glob("freehold*.toml"):
        try:
            settings = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue  # said by whoever loads it
        found = [folder / text for text in texts(settings) if "\0" not in text and len(text) < _LONGEST_PATH]
        named |= {path.resolve() for path in found if path.is_file()}
    return named


def _env_file(project: Project) -> str | None:
    env = json.loads(project.file.read_text(encoding="utf-8")).get("env")
    return env if isinstance(env, str) else None


def _configuration(project: Project) -> bytes:
    """langgraph.json without its variables: what they are set to is up to whoever runs it."""
    content: dict[str, Any] = json.loads(project.file.read_text(encoding="utf-8"))
    content.pop("env", None)
    return (json.dumps(content, indent=2) + "\n").encode()


def _named(folder: Path) -> tuple[str, str]:
    """Name and version, from pyproject.toml where it has them; else the folder's name."""
    described: dict[str, Any] = {}
    if (file := folder / "pyproject.toml").is_file():
        try:
            described = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from error
    name = re.sub(r"[^a-z0-9]+", "-", str(described.get("name") or folder.name).lower()).strip("-") or "project"
    version = str(described.get("version") or "0")
    return f"{name}-agents", version if re.fullmatch(r"\d+(\.\d+)*", version) else "0"
