"""Makes ready what serves the model: the engine's program and the model's files. Nothing to do where an endpoint is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold.config import env, paths
from freehold.core.errors import NotConfigured
from freehold.core.progress import Progress
from freehold.models import download
from freehold.stack.plan import Stack


@dataclass(frozen=True)
class Prepared:
    """What the layout needs to know; empty where no model server is started."""

    argv: tuple[str, ...] | None = None
    path: Path | None = None


async def prepare(stack: Stack, progress: Progress) -> Prepared:
    """Fetch or build the engine, and fetch the model."""
    if stack.engine.entry is None:
        return Prepared()
    server = env.get("FREEHOLD_LLAMA_SERVER")
    if not server:
        raise NotConfigured("no engine")
    return Prepared((server,), await download.fetch(stack.engine.entry, paths.cache(), progress))
