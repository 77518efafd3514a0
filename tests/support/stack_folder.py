"""A working directory with a stack of its own, and the command line in it: for tests of whole native stacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.targets.native.home import Home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Folder:
    """A working directory, and the command line in it."""

    path: Path
    port: int
    python: Path = Path(sys.executable)

    @property
    def home(self) -> Home:
        return Home(self.path / ".freehold")

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "freehold", *arguments]

    def run(self, *arguments: str, code: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert code is None or done.returncode == code, done.stderr
        return done

    def up(self) -> dict[str, Any]:
        return dict(json.loads(self.run("up", "--detach", "--json").stdout))

    def pids(self) -> dict[str, int]:
        services = json.loads(self.run("status", "--json", code=None).stdout)["services"]
        return {service["name"]: service["pid"] for service in services if service["pid"]}


def make_folder(path: Path, more: str = "") -> Folder:
    port = free_port()
    path.mkdir(parents=True, exist_ok=True)
    (path / "freehold.toml").write_text(f'[model]\nengine = "none"\n[server]\nport = {port}\n{more}')
    return Folder(path, port)
