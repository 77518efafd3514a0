"""`freehold status` on a native stack that is kept busy: the part it names is the one that was made slow."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.lab.scripted_model import Rule, Script, ScriptedModel

# A whole stack is started, also where the machine has much else to do.
pytestmark = pytest.mark.timeout(900)

PROJECT = Path(__file__).parent / "langgraph.json"
#: The one worker takes one run at a time, so that the others wait.
RUNS = 6


@dataclass(frozen=True)
class Stack:
    """A running stack, and the command line in its folder."""

    folder: Path
    url: str
    environ: dict[str, str]

    def client(self) -> httpx.AsyncClient:
        key = (self.folder / ".freehold" / "secrets" / "api_key").read_text().strip()
        return httpx.AsyncClient(base_url=self.url, timeout=60, headers={"x-api-key": key})

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """In a thread: the scripted model answers from this one."""
        command = [sys.executable, "-m", "freehold", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, env=self.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    async def status(self) -> dict[str, Any]:
        return dict(json.loads((await self.run("status", "--json")).stdout))

    async def keep_busy(self, graph: str, text: str, runs: int = RUNS) -> list[str]:
        """Threads with a run each."""
        threads = []
        async with self.client() as client:
            for _ in range(runs):
                thread = (await client.post("/threads", json={})).raise_for_status().json()["thread_id"]
                body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}}
                (await client.post(f"/threads/{thread}/runs", json=body)).raise_for_status()
                threads.append(thread)
        return threads

    async def let_go(self, threads: list[str]) -> None:
        async with self.client() as client:
            (await client.post("/runs/cancel", json={"status": "all"})).raise_for_status()
            for thread in threads:
                while (await client.get(f"/threads/{thread}")).json()["status"] == "busy":
                    await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, _scripted_model: ScriptedModel) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("bottleneck")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "freehold.toml").write_text(
        f'[agents]\nconfig = "{PROJECT}"\n[server]\nauth = "keys"\nport = {port}\n[worker]\nconcurrency = 1\n[model]\nname = "scripted"\n'
    )
    environ = {**os.environ, "OPENAI_BASE_URL": _scripted_model.base_url, "OPENAI_API_KEY": "none", "FREEHOLD_MODEL": "scripted"}
    stack = Stack(folder, f"http://127.0.0.1:{port}", environ)
    up = await stack.run("up", "--detach", "--yes")
    assert up.returncode == 0, up.stderr
    yield stack
    await stack.run("reset", "--yes")


async def test_a_stack_that_nobody_uses_waits_for_nothing_and_its_table_says_nothing_about_it(stack: Stack) -> None:
    assert (await stack.status())["bottleneck"] == {"part": "none", "why": "nothing waits", "todo": None}
    assert "bottleneck" not in (await stack.run("status")).stdout


async def test_a_slow_model_is_named_with_what_to_add(stack: Stack, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(text="at last", ttft_seconds=600),)))
    threads = await stack.keep_busy("thinks", "hello")
    try:
        found = (await stack.status())["bottleneck"]
        shown = (await stack.run("status")).stdout
    finally:
        await stack.let_go(threads)
    assert found["part"] == "model", found
    assert f"bottleneck  model: {RUNS - 1} runs wait" in shown
    assert found["todo"] in shown


async def test_a_slow_tool_is_named_by_its_name(stack: Stack) -> None:
    threads = await stack.keep_busy("digs", "600")
    try:
        found = (await stack.status())["bottleneck"]
    finally:
        await stack.let_go(threads)
    assert (found["part"], "most of all dig" in found["why"]) == ("tools", True), found


async def test_with_a_quick_model_and_a_single_place_it_is_the_workers(stack: Stack, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(text="at once"),)))
    threads = await stack.keep_busy("computes", "hello", runs=80)
    try:
        found = (await stack.status())["bottleneck"]
    finally:
        await stack.let_go(threads)
    assert (found["part"], found["todo"]) == ("workers", "raise worker.count or worker.concurrency"), found
