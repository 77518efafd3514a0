"""Makes ready what a stack runs: the engine's program, the models, the programs of optional services. The slow part of a first start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.core.errors import DownloadError
from freehold.core.machine import Machine
from freehold.core.progress import Progress
from freehold.models import catalogue, download
from freehold.stack.plan import Stack
from freehold.targets.native import packages
from freehold.targets.native.engines import llama_cpp, vllm
from freehold.targets.native.need import ASSUMED_RATE, Need

#: Seconds of one core that a build of llama.cpp takes: 258 s were measured with two.
BUILD_CORE_SECONDS = 520


@dataclass(frozen=True)
class Prepared:
    """What the layout needs to know of what had to be fetched or built; empty where nothing had to."""

    #: Start of the command line of each abstract program, e.g. `{"llama-server": ("/…/llama-server",)}`.
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: File or folder of the model that a service serves, by the service's name.
    models: Mapping[str, Path] = field(default_factory=dict)


async def needs(stack: Stack, machine: Machine, cache: Path) -> list[Need]:
    """What is not on this machine yet."""
    found = []
    entry = stack.engine.entry
    if entry and not await is_installed(stack.engine.name, cache):
        found.append(_engine(stack.engine.name, machine))
    if entry and not entry.path and not download.held(entry, cache).complete:
        found.append(_download(entry))
    embedding = catalogue.find(stack.embedding_model)
    if not embedding.path and not download.held(embedding, cache).complete:
        found.append(_download(embedding))
    return [*found, *packages.needs(stack, cache)]


async def prepare(stack: Stack, cache: Path, progress: Progress) -> Prepared:
    """Fetch or build the engine, fetch the models, install other programs; a build and downloads go on side by side."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_embedding(stack.embedding_model, cache, progress))
            installed = group.create_task(packages.prepare(stack, cache, progress))
            if stack.engine.entry is None:
                return Prepared(await installed)
            program = group.create_task(ENGINES[stack.engine.name](cache, progress))
            path = group.create_task(download.fetch(stack.engine.entry, cache, progress))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    served = stack.service("model")
    assert served is not None, "an engine that we start is a service"
    return Prepared({**installed.result(), served.program: (str(program.result()),)}, {served.name: path.result()})


async def _embedding(name: str, cache: Path, progress: Progress) -> None:
    """Answers do not need it, documents do: without it the stack starts, and `freehold ingest` tries again."""
    try:
        await download.fetch_embedding(name, cache, progress)
    except DownloadError as error:
        progress.say(f"documents cannot be searched yet: {error.message}")


async def is_installed(engine: str, cache: Path) -> bool:
    """Whether the program of an engine that we start is on this machine."""
    if engine == "vllm":
        return (cache / "engines" / "vllm" / vllm.VERSION / ".complete").exists()
    return await llama_cpp.existing(cache) is not None


def _engine(name: str, machine: Machine) -> Need:
    if name == "vllm":
        return Need("vLLM and its libraries, several gigabytes; the exact size is shown before they are fetched", None, None)
    return Need("llama.cpp's server: a binary of the project, else a build from source", None, BUILD_CORE_SECONDS / machine.cpu_count)


def _download(model: catalogue.Model) -> Need:
    return Need(f"the model {model.title}", model.size, model.size / ASSUMED_RATE if model.size else None)


#: What makes each engine ready; returns its program.
ENGINES: dict[str, Callable[[Path, Progress], Coroutine[Any, Any, Path]]] = {"llama.cpp": llama_cpp.ensure, "vllm": vllm.ensure}
