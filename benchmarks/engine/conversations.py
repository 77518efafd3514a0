"""A hundred conversations with tool calls at once: what two servers and two workers add to the time the model itself takes.

The model is scripted: it calls a tool, then answers 20 tokens at 20 tokens a second, so a turn without any engine takes
exactly `SCRIPTED_SECONDS`. The model's process costs CPU too, on the same machine; what it takes when it is called directly
by as many clients is printed beside, and what the same agent takes in one process, with no server between.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.engine.figures import percentile, table
from benchmarks.engine.measure import Client, client
from benchmarks.engine.systems import World, freehold

CONVERSATIONS = 100
TURNS = 3
TOKENS = 20
TOKENS_PER_SECOND = 20

#: The first token comes at once, the last one after the others; the call of the tool takes no time.
SCRIPTED_SECONDS = (TOKENS - 1) / TOKENS_PER_SECOND

SCRIPT = f"""
tokens_per_second = {TOKENS_PER_SECOND}

[[rules]]
tool_results = 0
calls = [{{ name = "add", arguments = {{ a = 2, b = 3 }} }}]

[[rules]]
text = "{" ".join(["five"] * TOKENS)}"
"""

AGENT = """
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

graph = create_agent(ChatOpenAI(model="scripted", base_url={url!r}, api_key="none"), [add])
"""


async def conversations(world: World, *, turns: int = TURNS) -> dict[str, Any]:
    """Measure, print, and give the figures: seconds a turn took beyond the script."""
    with ExitStack() as stack:
        url = stack.enter_context(scripted_model(world.folder))
        ours = await world.migrated("conversations")
        agent = AGENT.format(url=url)
        system = stack.enter_context(freehold(world, ours, servers=2, workers=2, agent=agent, concurrency=CONVERSATIONS))
        asked = stack.enter_context(client())
        _talk(asked, system.urls, 10, 1)  # graphs are loaded, connections made
        alone = asked.ask(do="model", url=url, lanes=CONVERSATIONS, turns=turns, spread=SCRIPTED_SECONDS)
        through = _talk(asked, system.urls, CONVERSATIONS, turns)
        (world.folder / "agent.py").write_text(agent)
        bare = await world.migrated("conversations_floor")
        inside = stack.enter_context(client("--in-process", "ours", bare.app_url, str(world.folder / "agent.py")))
        _talk(inside, system.urls, 10, 1)
        floor = _talk(inside, system.urls, CONVERSATIONS, turns)
    print(
        f"\n{CONVERSATIONS} conversations at once, {turns} turns with a tool call each, {TOKENS} tokens at {TOKENS_PER_SECOND}/s, "
        f"2 servers + 2 workers:\nseconds a turn takes beyond the model's own {SCRIPTED_SECONDS:g}"
    )
    rows = {"the model called directly": alone, "the agent in one process": floor, "freehold 2+2": through}
    print(
        table(("", "p50 ms", "p95 ms", "turns", "errors", "client core"), [_row(name, found) for name, found in rows.items()]), flush=True
    )
    return rows


def _talk(asked: Client, urls: tuple[str, ...], count: int, turns: int) -> dict[str, Any]:
    threads = asked.ask(do="threads", url=urls[0], count=count)["threads"]
    return asked.ask(do="talk", urls=urls, threads=threads, turns=turns, spread=SCRIPTED_SECONDS)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    added = [seconds - SCRIPTED_SECONDS for seconds in found["seconds_each"]]
    share = found["cpu"] / found["seconds"]
    halves = (f"{percentile(added, one) * 1000:.0f}" for one in (0.5, 0.95))
    return [name, *halves, str(len(added)), str(found["errors"]), f"{share:.0%}"]


@contextmanager
def scripted_model(folder: Path) -> Iterator[str]:
    """Base URL of a model in a process of its own."""
    script = folder / "script.toml"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "freehold.lab.scripted_model", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
