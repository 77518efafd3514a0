"""A project as a wheel: the same bytes for the same files, and installers take it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from freehold.operate.build.sources import Sources
from freehold.operate.build.wheel import write

SOURCES = Sources("my-agents", "1.0+abc", {"langgraph.json": b"{}", "src/agent.py": b"x = 1\n"})


def test_the_same_files_make_the_same_wheel(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (write(SOURCES, tmp_path / name, requires=("langgraph>=1",)) for name in "ab")
    assert first == second
    assert (tmp_path / "a" / first.file).read_bytes() == (tmp_path / "b" / second.file).read_bytes()
    assert first.line.startswith("./wheels/my_agents-1.0+abc-py3-none-any.whl --hash=sha256:")


def test_pip_installs_it(tmp_path: Path) -> None:
    written = write(SOURCES, tmp_path, requires=("langgraph>=1",))
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*command, str(tmp_path / written.file)], check=True, capture_output=True)
    assert (target / written.agents_file).read_bytes() == b"{}"
    assert (target / "my_agents" / "src" / "agent.py").read_text() == "x = 1\n"
