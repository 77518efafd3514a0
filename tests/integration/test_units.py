"""The unit's own commands, run as systemd would run them: told when it is ready, ended by its signal, nothing left."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.stack_folder import make_folder


def values(unit: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


async def test_the_unit_starts_tells_that_it_is_ready_and_ends_in_order(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "my agents", 'auth = "keys"\n')
    folder.run("render", "systemd", "--out", "units")
    unit = (folder.path / "units" / "freehold.service").read_text()
    (command,), (environment,) = values(unit, "ExecStart"), values(unit, "Environment")
    environ = dict(word.split("=", 1) for word in shlex.split(environment))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        running = subprocess.Popen(
            shlex.split(command),
            cwd=values(unit, "WorkingDirectory")[0],
            env={**os.environ, **environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert await asyncio.to_thread(systemd.recv, 100) == b"READY=1"
        assert json.loads(folder.run("status", "--json").stdout)["healthy"] is True
        running.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(running.communicate)
        assert systemd.recv(100) == b"STOPPING=1"
    assert running.returncode == 0, said
    assert not folder.home.is_running()
    key = (folder.home.secrets / "api_key").read_text().strip()
    assert key not in said  # a journal would keep it
    folder.run("reset", "--yes")
