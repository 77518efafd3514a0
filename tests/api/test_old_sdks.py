"""Python SDKs people have installed: the first and the last of each line, unchanged, against this server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parent / "sdk_scenario.py"


async def _run(*command: str, **environ: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.slow
@pytest.mark.compat(
    "Clients", "Python SDK 0.2, 0.3, 0.4", "threads, runs, streams, joins, cancels, interrupts, state, history and the store work"
)
@pytest.mark.parametrize("version", ["0.2.0", "0.2.15", "0.3.0", "0.3.15", "0.4.0"])
async def test_an_older_python_client_works_unchanged(server_url: str, version: str, tmp_path: Path) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    options = ["--quiet", "--no-deps", "--python", sys.executable, "--target", str(tmp_path)]
    await _run(uv, "pip", "install", *options, f"langgraph-sdk=={version}")
    output = await _run(sys.executable, str(SCENARIO), server_url, PYTHONPATH=str(tmp_path))
    assert output.splitlines()[-1] == f"{version} works"


async def test_the_current_python_client_does_the_same(server_url: str) -> None:
    assert "works" in await _run(sys.executable, str(SCENARIO), server_url)
