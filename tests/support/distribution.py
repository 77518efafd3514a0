"""Programs of the distribution for tests, got as `freehold up` gets them: from the PATH, else unpacked into the cache."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.targets.native import packages
from freehold.targets.versions import versions


@cache
def program(name: str, tool: str) -> tuple[str, ...]:
    """Start of the command line of a tool that comes beside a program of `versions.toml`, e.g. `promtool` beside "prometheus"."""
    started = asyncio.run(packages.ensure(name, versions()[name], paths.cache(), Silent()))
    return (*started[:-1], str(Path(started[-1]).with_name(tool)))
