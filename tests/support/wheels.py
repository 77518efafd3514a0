"""Wheels of Freehold as it is here, under other version numbers and with changes, and environments that have one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path, version: str, changes: Mapping[str, str | None] | None = None) -> Path:
    """A wheel of this tree; `changes`: path below src/freehold -> its whole text, None: it is not there."""
    tree = folder / f"tree-{version}"
    tree.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    project = tree / "pyproject.toml"
    lines = [f'version = "{version}"' if line.startswith('version = "') else line for line in project.read_text().splitlines()]
    project.write_text("\n".join(lines) + "\n")
    for path, text in (changes or {}).items():
        if text is None:
            (tree / "src" / "freehold" / path).unlink()
        else:
            (tree / "src" / "freehold" / path).write_text(text)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree)]
    subprocess.run(command, check=True)
    shutil.rmtree(tree)
    (wheel,) = folder.glob(f"freehold-{version}-*.whl")
    return wheel


def environment(folder: Path, wheel: Path) -> Path:
    """An environment with that wheel, whose dependencies are those of the tests; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install(python, wheel)
    return python


def install(python: Path, wheel: Path) -> None:
    """As `pip install` of a person does."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", str(wheel)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
