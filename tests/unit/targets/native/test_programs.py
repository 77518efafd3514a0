"""How the programs of a stack are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from freehold.models.download import packages
from freehold.targets.native import programs


@pytest.mark.parametrize(
    "command",
    [
        (*programs.ours()["freehold"], "version"),
        (*programs.ours()["python"], "-m", "freehold.storage.migrate", "--help"),
        (*packages.pip(), "--version"),
    ],
    ids=["freehold", "python", "pip"],
)
def test_modules_in_the_working_directory_do_not_stand_in_for_pythons_own(command: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("json", "logging", "asyncio", "typing"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch(); raise SystemExit(9)\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not list(tmp_path.glob("*.ran")), done.stderr
    assert done.returncode != 9
