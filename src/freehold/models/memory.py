"""How much memory a model needs: a first estimate in which every term has a name, used to pick a model and its context.

Weights and keys and values are exact for what the catalogue knows; the rest is an allowance that was measured once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.core.errors import OutOfSpace
from freehold.core.machine import GIB

if TYPE_CHECKING:
    from freehold.models.catalogue import Model

#: Tokens for each conversation where nothing else is asked for.
DEFAULT_CONTEXT = 8192
#: A model is chosen when at least this many tokens fit for each conversation.
CHOICE_CONTEXT = 4096
#: Less is of no use to an agent: its instructions and tools take about a thousand tokens.
SMALLEST_CONTEXT = 2048
#: Left for the operating system, Postgres, Valkey and the agent server on a machine whose main memory holds the model.
SYSTEM_RESERVE = int(1.5 * GIB)
#: vLLM's own default for --gpu-memory-utilization.
VLLM_UTILISATION = 0.92
#: vLLM's activations and CUDA graphs beside weights and keys and values; an allowance, not a measurement.
VLLM_WORKING_BYTES = 1 * GIB
#: llama-server's compute buffers and repacked weights: 0.65 GiB measured as peak beyond weights and keys and values with the
#: 1.5B model at 2 x 8192 tokens (0.03 GiB with the 135M one).
LLAMA_CPP_WORKING_BYTES = int(0.65 * GIB)
#: vLLM's processes, libraries and compiled code on a CPU: 2.0 GiB measured beyond weights and keys and values of the 135M model, not all
#: of which had been touched.
VLLM_CPU_WORKING_BYTES = int(2.5 * GIB)
#: vLLM on a CPU computes in 32 bit (16 bit gave wrong answers on processors without instructions for it), so it holds twice the bytes.
FLOAT32_FACTOR = 2
#: Host memory llama-server may keep evicted prompts in; its own default of 8 GiB would take a small machine down.
PROMPT_CACHE_MIB = 512


@dataclass(frozen=True)
class Room:
    """Memory that one model server may use."""

    available_bytes: int
    #: Where, to end a sentence: "are usable on NVIDIA L4".
    where: str
    #: GPUs it is spread over; 0: main memory.
    gpus: int = 0


@dataclass(frozen=True)
class Estimate:
    """Bytes of memory, term by term."""

    weights: int
    keys_and_values: int
    working: int
    prompt_cache: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.keys_and_values + self.working + self.prompt_cache

    def __str__(self) -> str:
        terms = {
            "weights": self.weights,
            "keys and values": self.keys_and_values,
            "working memory": self.working,
            "prompt cache": self.prompt_cache,
        }
        named = " + ".join(f"{size / GIB:.1f} {name}" for name, size in terms.items() if size)
        return f"{self.total / GIB:.1f} GiB ({named})"


def estimate(model: Model, *, engine: str, context: int, parallel: int, weights_bytes: int | None = None, gpus: int = 1) -> Estimate:
    """What `model` needs for `parallel` conversations of `context` tokens each.

    Args:
        weights_bytes: for a model whose catalogue entry does not know it, such as a local file: the file's size.
        gpus: GPUs it is spread over; each needs working memory of its own.
    """
    keys_and_values = (model.kv_bytes_per_token or 0) * context * parallel
    weights = weights_bytes or model.weights_bytes or 0
    if engine == "vllm-cpu":
        return Estimate(weights * FLOAT32_FACTOR, keys_and_values * FLOAT32_FACTOR, VLLM_CPU_WORKING_BYTES)
    if engine in ("vllm", "sglang"):
        return Estimate(weights, keys_and_values, VLLM_WORKING_BYTES * max(gpus, 1))
    return Estimate(weights, keys_and_values, LLAMA_CPP_WORKING_BYTES, PROMPT_CACHE_MIB * 1024**2)


def fit_context(
    model: Model,
    *,
    engine: str,
    available_bytes: int,
    parallel: int,
    wanted: int | None = None,
    ceiling: int = DEFAULT_CONTEXT,
    gpus: int = 1,
    key: str = "model",
) -> int:
    """Tokens of context for each of `parallel` conversations: `wanted`, else as many as fit up to `ceiling`, in steps of 1024.

    Args:
        available_bytes: memory the model server may use (on CPU: what the system and the rest of the stack leave).
        wanted: what the user asked for; on a CPU memory is theirs to judge, a vLLM on GPUs starts only if one conversation fits.
        gpus: GPUs the model is spread over.
        key: section of freehold.toml that describes the model.

    Raises:
        OutOfSpace: not even the smallest useful context fits, or on GPUs not one conversation of what was asked for.
    """
    limit = model.context or DEFAULT_CONTEXT
    if wanted is not None:
        wanted = min(wanted, model.context or wanted)
        if engine in ("vllm", "sglang"):
            _require(model, engine, available_bytes, context=wanted, parallel=1, gpus=gpus, key=key)
        return wanted
    most = min(ceiling, limit)
    if not model.kv_bytes_per_token:
        _require(model, engine, available_bytes, context=0, parallel=parallel, gpus=gpus, key=key)
        return most
    smallest = min(SMALLEST_CONTEXT, limit)
    _require(model, engine, available_bytes, context=smallest, parallel=parallel, gpus=gpus, key=key)
    fixed = estimate(model, engine=engine, context=0, parallel=parallel, gpus=gpus).total
    each = estimate(model, engine=engine, context=1, parallel=parallel, gpus=gpus).total - fixed
    tokens = (available_bytes - fixed) // each
    return min(most, max(SMALLEST_CONTEXT, tokens // 1024 * 1024)) if tokens < most else most


def _require(model: Model, engine: str, available_bytes: int, *, context: int, parallel: int, gpus: int, key: str) -> None:
    """Raises:
    OutOfSpace: what is known of the model says that it needs more than is available.
    """
    need = estimate(model, engine=engine, context=context, parallel=parallel, gpus=gpus)
    if need.total > available_bytes and (model.kv_bytes_per_token or model.weights_bytes):
        what = f" for {parallel} x {context} tokens" if need.keys_and_values else ""
        raise OutOfSpace(
            f"{model.id} needs {need}{what}, and {available_bytes / GIB:.1f} GiB are available",
            hint=f"choose a smaller model (`freehold models list`), set {key}.parallel = 1, or use an endpoint ({key}.base_url)",
        )
