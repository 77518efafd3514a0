"""Which engine serves the model: an endpoint of the user's, vLLM where a GPU is found, else llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.config.settings import Settings
from freehold.core.machine import Machine

EngineName = Literal["llama.cpp", "vllm", "openai"]


@dataclass(frozen=True)
class Engine:
    """The engine and the name its model goes by."""

    name: EngineName
    #: What clients send as `model`: a catalogue id, a file's stem, or the endpoint's own name.
    model: str


def choose_engine(settings: Settings, machine: Machine) -> EngineName:
    if settings.model.base_url or settings.model.engine == "openai":
        return "openai"
    if settings.model.engine != "auto":
        return settings.model.engine
    return "vllm" if machine.gpus else "llama.cpp"
