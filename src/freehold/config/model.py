"""The sections that describe models: `[model]`, the one that agents get unless they ask for another, and `[models.NAME]` for more."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from freehold.config.section import Port, PositiveInt, Seconds, Section, http_url

#: Port of the first further model that names none; the others follow.
FIRST_FURTHER_PORT = 8001

#: A name becomes part of names of services (`model-coder`), variables and secrets; `coder-2` would be the second replica of `coder`.
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$", max_length=30)]

EngineChoice = Literal["auto", "llama.cpp", "vllm", "vllm-cpu", "sglang", "ollama", "openai", "none"]

_CPUS = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")


class AnyModelSection(Section):
    """What every model may say. Fields with a default of their own in a kind of section stand there."""

    engine: EngineChoice = "auto"
    """What serves the model. "auto": an endpoint where base_url is set, vLLM where an NVIDIA GPU is found, else llama.cpp. Others:
    "vllm-cpu", "sglang", "ollama". "none": agents bring their own."""
    name: str = "auto"
    """A catalogue id (`freehold models list`), the path of a GGUF file or of a folder with safetensors, a repository of the model hub,
    a tag of Ollama's, or the endpoint's name for the model."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint, e.g. "http://gpu-box:8000/v1". No model server is started then."""
    api_key: SecretStr | None = None
    """Key for base_url."""
    host: str = "127.0.0.1"
    """Address of the model server we start."""
    port: Port | None = None
    """Port of the model server we start."""
    context: Annotated[int, Field(ge=512)] | None = None
    """Tokens of context for each conversation; default: what the model and memory allow, 8192 at most."""
    parallel: PositiveInt = 2
    """Conversations each model server decodes at once."""
    max_queue: PositiveInt = 256
    """Requests that may wait in a vLLM, SGLang or Ollama; beyond it they are refused with 503."""
    threads: PositiveInt | None = None
    """CPU threads for the model server; default: the number of physical cores, or of those in cpus."""
    cpus: str | None = None
    """Processors the model server is pinned to, e.g. "0-3"; replicas share them out evenly. Default: any. Linux only."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """GPUs it may use, by nvidia-smi's numbers, e.g. [0, 1]; as many as tensor_parallel x replicas. Default: the largest free ones."""
    tensor_parallel: PositiveInt = 1
    """GPUs that hold one copy of the model together."""
    replicas: PositiveInt = 1
    """Copies of the model, each in a server of its own, behind a balancer that sends a request to the least busy one."""
    replica_port: Port | None = None
    """Port of the first replica, the others follow; default: from 8050 on."""
    gpu_memory: Annotated[float, Field(gt=0.02, le=0.98)] | None = None
    """Share of each GPU's memory the model server takes; default: 0.92. Two models on one GPU: at most 0.95 together."""
    kv_cache_gb: Annotated[float, Field(gt=0)] | None = None
    """GiB for keys and values of vLLM; default: what is left of gpu_memory, or on a CPU what context x parallel tokens need."""
    quantization: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")] | None = None
    """How vLLM or SGLang quantise the weights while they load, e.g. "fp8"; default: as the model's own files are."""
    tool_parser: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+$")] | None = None
    """The engine's name of the parser that finds tool calls in the model's text; default: the catalogue's."""
    reasoning_parser: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+$")] | None = None
    """The engine's name of the parser that tells reasoning from the answer; default: the catalogue's."""

    @field_validator("base_url")
    @classmethod
    def _base_url_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "http://127.0.0.1:11434/v1")

    @field_validator("cpus")
    @classmethod
    def _cpus_are_numbers(cls, cpus: str | None) -> str | None:
        if cpus is not None and not (_CPUS.fullmatch(cpus) and processors(cpus)):
            raise ValueError(f'expected processors such as "0-3" or "0,2,4-7", got "{cpus}"')
        return cpus

    @field_validator("gpus")
    @classmethod
    def _gpus_are_different(cls, gpus: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if gpus is not None and (not gpus or len(set(gpus)) != len(gpus)):
            raise ValueError(f"expected different GPUs such as [0, 1], got {list(gpus)}")
        return gpus

    @property
    def is_ours(self) -> bool:
        """Whether we start a server for it."""
        return not self.base_url and self.engine not in ("openai", "none")


class ModelSection(AnyModelSection):
    """The default model."""

    api_key: SecretStr | None = None
    """Key for base_url. Better given as OPENAI_API_KEY than written in a file."""
    port: Port = 8000
    """Port of the model server we start."""
    timeout_seconds: Seconds = 120
    """A model call that is silent this long is given up."""


class FurtherModelSection(AnyModelSection):
    """A model that graphs ask for by name."""

    api_key: SecretStr | None = None
    """Key for base_url. Better given as FREEHOLD_MODEL_<NAME>_API_KEY than written in a file."""
    port: Port | None = None
    """Port of the model server we start; default: 8001 for the first of them, 8002 for the second, and so on."""


def processors(cpus: str) -> tuple[int, ...]:
    """`"0-2,6"` → (0, 1, 2, 6)."""
    numbers: set[int] = set()
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))
