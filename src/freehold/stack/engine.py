"""Which engine serves which model: an endpoint of the user's, vLLM where a GPU is found, else llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import Machine
from freehold.models import catalogue, memory

EngineName = Literal["llama.cpp", "vllm", "openai", "none"]


@dataclass(frozen=True)
class Engine:
    """The engine, and the model it serves."""

    name: EngineName
    #: What clients send as `model`: a catalogue id, a file's stem, or the endpoint's own name.
    model: str
    #: Why this engine and model, in a sentence.
    reason: str
    #: The catalogue's entry; None where an endpoint serves the model.
    entry: catalogue.Model | None = None
    #: Tokens of context for each conversation; None where it is the endpoint's affair.
    context: int | None = None


def choose_engine(settings: Settings, machine: Machine) -> Engine:
    """The engine and model for these settings on this machine.

    Raises:
        ConfigError: the model is unknown, or its engine is another.
        Incompatible: nothing fits this machine.
        OutOfSpace: the model that was asked for does not fit.
    """
    wanted = settings.model
    if wanted.engine == "none":
        return Engine("none", "", "no model is served; agents bring their own")
    if wanted.base_url or wanted.engine == "openai":
        return Engine("openai", wanted.name, f"served by {wanted.base_url}")
    named = catalogue.find(wanted.name) if wanted.name != "auto" else None
    name = _engine_name(settings, machine, named)
    if named is None:
        choice = catalogue.choose(machine, name, parallel=wanted.parallel)
        named, reason = choice.model, choice.reason
    else:
        reason = "named in the settings"
    if named.kind != "chat" or name not in named.engines:
        raise ConfigError(
            f"model.name: {named.id} does not run on {name} as a chat model", hint="`freehold models list` shows the engines of each model"
        )
    context = memory.fit_context(
        named, engine=name, available_bytes=_available(name, machine), parallel=wanted.parallel, wanted=wanted.context
    )
    return Engine(name, named.id, reason, named, context)


def _engine_name(settings: Settings, machine: Machine, named: catalogue.Model | None) -> Literal["llama.cpp", "vllm"]:
    if settings.model.engine in ("llama.cpp", "vllm"):
        return settings.model.engine
    if named is not None:
        return "vllm" if "vllm" in named.engines and machine.gpus else "llama.cpp"
    return "vllm" if machine.gpus else "llama.cpp"


def _available(name: str, machine: Machine) -> int:
    """Bytes the model server may use."""
    if name == "vllm" and machine.gpus:
        return int(catalogue.largest_gpu(machine).memory_bytes * memory.VLLM_UTILISATION)
    return max(0, machine.memory_bytes - memory.SYSTEM_RESERVE)
