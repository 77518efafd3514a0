"""A real stack with a real model, started as a user starts it: once for all end-to-end tests.

The first time on a machine this fetches the model and builds or fetches llama.cpp; both stay in the user's cache.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FREEHOLD = str(Path(sys.executable).parent / "freehold")


@dataclass(frozen=True)
class Stack:
    """A folder with a stack, and the program that works on it."""

    folder: Path
    port: int
    model_port: int
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        return [FREEHOLD, *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*arguments), cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"freehold {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def up(self) -> Any:
        return self.json("up", "--detach", "--yes", "--port", str(self.port), "--model-port", str(self.model_port))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), free_port(), free_port())
    try:
        stack.up()
        yield stack
    finally:
        stack.run("reset", "--yes", check=False)
