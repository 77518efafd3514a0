"""Which packages a project asks for, and which of them this environment lacks: said before an import fails for it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from freehold.core.errors import ConfigError


def collect(file: Path, named: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Requirement -> the file that asks for it: what langgraph.json names, and what its folders list or declare.

    Raises:
        ConfigError: a pyproject.toml is not valid.
    """
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


def missing(requirements: Mapping[str, str]) -> dict[str, str]:
    """Requirements this environment does not meet: package -> why and what to run."""
    problems: dict[str, str] = {}
    for text, origin in requirements.items():
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


def _project_dependencies(file: Path) -> list[str]:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    return [entry for entry in project.get("dependencies", []) if isinstance(entry, str)]
