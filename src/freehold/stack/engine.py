"""Which engine serves which model: an endpoint of the user's, vLLM where a GPU is found, else llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.config.model import AnyModelSection
from freehold.core.errors import ConfigError
from freehold.core.machine import Machine
from freehold.models import catalogue, memory

#: Engines that we start.
OwnEngine = Literal["llama.cpp", "vllm", "vllm-cpu", "sglang", "ollama"]
EngineName = OwnEngine | Literal["openai", "none"]

#: Engines that need GPUs. Ollama takes them where there are some.
GPU_ENGINES: tuple[OwnEngine, ...] = ("vllm", "sglang")


@dataclass(frozen=True)
class Engine:
    """The engine, and the model it serves."""

    name: EngineName
    #: What clients send as `model`: a catalogue id, a file's stem, or the endpoint's own name.
    model: str
    #: Why this engine and model, in a sentence.
    reason: str
    #: The catalogue's entry; None where an endpoint serves the model, or Ollama, which fetches its own.
    entry: catalogue.Model | None = None
    #: Tokens of context for each conversation; None where it is the endpoint's affair.
    context: int | None = None


def engine_name(key: str, wanted: AnyModelSection, machine: Machine) -> EngineName:
    """What serves a model, before it is known where.

    Args:
        key: the model's section, e.g. "models.coder".

    Raises:
        ConfigError: the model is unknown.
        Incompatible: it needs a GPU and there is none.
    """
    if wanted.base_url or wanted.engine == "openai":
        return "none" if wanted.engine == "none" else "openai"
    if wanted.engine == "auto":
        return _usual(wanted, machine)
    if wanted.engine in catalogue.GPU_ENGINES and not machine.gpus:
        raise catalogue.no_gpu(wanted.engine)
    if wanted.engine == "ollama" and wanted.name == "auto":
        raise ConfigError(f"{key}.name: needed with Ollama", hint='a tag of its library, e.g. "qwen3:4b"')
    return wanted.engine


def _usual(wanted: AnyModelSection, machine: Machine) -> OwnEngine:
    if wanted.name == "auto":
        return "vllm" if machine.gpus else "llama.cpp"
    runs_on = (catalogue.named(wanted.name, "vllm") if machine.gpus else catalogue.find(wanted.name)).engines
    if "vllm" in runs_on and machine.gpus:
        return "vllm"
    return "vllm-cpu" if "vllm-cpu" in runs_on and "llama.cpp" not in runs_on else "llama.cpp"


def choose_engine(key: str, wanted: AnyModelSection, name: EngineName, machine: Machine, room: memory.Room) -> Engine:
    """The model that an engine serves, and with how much context.

    Args:
        machine: with those GPUs alone that the model may use.
        room: what one server of it may use.

    Raises:
        ConfigError: the model is unknown, or its engine is another.
        Incompatible: nothing fits this machine.
        OutOfSpace: the model that was asked for does not fit.
    """
    if name == "none":
        return Engine("none", "", "no model is served; agents bring their own")
    if name == "openai":
        return Engine("openai", wanted.name, f"served by {wanted.base_url}")
    if name == "ollama":
        return Engine("ollama", wanted.name, "named in the settings; Ollama fetches it", context=wanted.context)
    if wanted.name == "auto":
        choice = catalogue.choose(machine, name, parallel=wanted.parallel, room=room)
        model, reason = choice.model, choice.reason
    else:
        model, reason = catalogue.named(wanted.name, name), "named in the settings"
    if model.kind != "chat" or not catalogue.runs(model, name):
        raise ConfigError(
            f"{key}.name: {model.id} does not run on {name} as a chat model", hint="`freehold models list` shows the engines of each model"
        )
    context = memory.fit_context(
        model,
        engine=name,
        available_bytes=room.available_bytes,
        parallel=wanted.parallel,
        wanted=wanted.context,
        gpus=room.gpus,
        key=key,
    )
    return Engine(name, model.id, reason, model, context)
