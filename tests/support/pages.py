"""Finds the commands in documentation and runs them, so that what people copy works.

A fenced block of `sh`, `python` or `toml` counts. A comment on the line before says what it needs:

    <!-- test: needs-stack -->       run while a stack is up (a scripted model answers)
    <!-- no-test: the reason -->     not run

Blocks of one page run in order in one folder, as a reader would. `toml` blocks must be valid as freehold.toml. Commands that
are shown but not run are still checked: every `make` verb and every `freehold` command named anywhere on a page must exist.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK_SECONDS = 240
#: The port pages name; a test's stack listens elsewhere.
DOCUMENTED_PORT = "8123"

_BLOCK = re.compile(r"(?:^<!-- (?P<marker>[^\n]+) -->\n)?^```(?P<language>sh|python|toml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```(?:sh|console)\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it is, whether and where it runs."""

    line: int
    language: str
    text: str
    needs_stack: bool = False
    skipped_because: str | None = None


def blocks(markdown: str) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: a marker that is neither of the two, or a no-test without a reason.
    """
    found = []
    for match in _BLOCK.finditer(markdown):
        line = markdown[: match.start("text")].count("\n")
        marker = match["marker"] or ""
        if marker.startswith("no-test:") and marker.removeprefix("no-test:").strip():
            found.append(Block(line, match["language"], match["text"], skipped_because=marker.removeprefix("no-test:").strip()))
        elif marker in {"", "test: needs-stack"}:
            found.append(Block(line, match["language"], match["text"], needs_stack=bool(marker)))
        else:
            raise ValueError(f'line {line}: expected "test: needs-stack" or "no-test: <reason>", got "{marker}"')
    return found


def run(block: Block, folder: Path, *, port: int, environ: dict[str, str]) -> str | None:
    """Run a block in `folder`; None when it worked, else what it printed."""
    text = block.text.replace(DOCUMENTED_PORT, str(port))
    command = {"sh": ["bash", "-euo", "pipefail", "-c", text], "python": [sys.executable, "-c", text]}[block.language]
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BLOCK_SECONDS,
        check=False,
    )
    return None if done.returncode == 0 else f"exit {done.returncode}\n{text}\n---\n{done.stdout[-3000:]}"


def commands(markdown: str, program: str) -> set[str]:
    """First arguments that a page gives to `program`, e.g. `{"up", "ask"}` for `freehold`."""
    code = "\n".join(match[1] or match[2] for match in _CODE.finditer(markdown))
    return set(re.findall(rf"(?:^|[\s(]){program} ([a-z][a-z-]*)\b(?![=.])", code, flags=re.MULTILINE))


def pages() -> list[Path]:
    """Every page people read."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
