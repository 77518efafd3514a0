"""Tiny wheels with a part of a model inside, in a folder that pip is told to look in and nowhere else."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from freehold.models.catalogue import Wheel


def write(folder: Path, project: str, members: dict[str, bytes], belong_to: dict[str, str], version: str = "1.0") -> Wheel:
    """Make `project`'s wheel in `folder`; importing it would fail the test.

    Args:
        members: path in the archive -> content.
        belong_to: path in the archive -> model file.
    """
    name = project.replace("-", "_")
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}/__init__.py": b"raise SystemExit('a mirror package was imported')",
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Dist: not-to-be-fetched\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in contents.items():
            archive.writestr(member, content)
    return Wheel(project, version, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), tuple(belong_to.items()))


def point_pip_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds packages in `folder` only."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
