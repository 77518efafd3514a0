"""How each engine is told to serve a model: pure functions from a model and its limits to a command's arguments and environment.

Keys never appear in arguments, where every user of the machine could read them: they travel in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.models.catalogue import Model
from freehold.models.memory import PROMPT_CACHE_MIB

#: Environment variable that holds the API key of each engine's server.
LLAMA_CPP_KEY_VARIABLE = "LLAMA_API_KEY"
VLLM_KEY_VARIABLE = "VLLM_API_KEY"

#: vLLM's default of 0 would abort the answers under way on SIGTERM.
VLLM_SHUTDOWN_SECONDS = 30
#: How often vLLM says on a stream that waits that it is still there, so that nobody between gives the connection up.
KEEP_ALIVE_SECONDS = 15

#: vLLM reports nothing home and looks nothing up while it serves.
VLLM_ENVIRONMENT: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA's own order is by speed, nvidia-smi's and the settings' is this one
}
#: The same for SGLang.
SGLANG_ENVIRONMENT: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


def llama_cpp_arguments(
    model: Model, model_path: Path, *, host: str, port: int, context: int, parallel: int, threads: int | None = None
) -> tuple[str, ...]:
    """Arguments of `llama-server` (without the program itself).

    Args:
        context: tokens of each conversation; the server is given `context x parallel` and splits it evenly.
        threads: CPU threads; None leaves the engine its own choice.
    """
    arguments = (
        *("--model", str(model_path), "--alias", model.id),
        *("--host", host, "--port", str(port)),
        *("--ctx-size", str(context * parallel), "--parallel", str(parallel)),
        *("--jinja", "--metrics", "--no-webui", "--no-slots", "--offline"),
        *("--cache-prompt", "--cache-ram", str(PROMPT_CACHE_MIB)),
    )
    return (*arguments, "--threads", str(threads)) if threads else arguments


@dataclass(frozen=True)
class Tuning:
    """What users may say of how a model is served, beyond what the catalogue knows."""

    max_queue: int = 256
    tensor_parallel: int = 1
    #: Share of each GPU's memory; None leaves the engine its own.
    gpu_memory: float | None = None
    kv_cache_bytes: int | None = None
    #: vLLM: goes to `--quantization`, never to `--dtype`, which knows no fp8.
    quantization: str | None = None
    tool_parser: str | None = None
    reasoning_parser: str | None = None


def vllm_arguments(
    model: Model, model_path: Path | str, *, host: str, port: int, context: int, parallel: int, tuning: Tuning = Tuning(), cpu: bool = False
) -> tuple[str, ...]:
    """Arguments of `vllm` (without the program itself).

    Args:
        model_path: folder with the model's files, or a repository name.
        parallel: conversations decoded at once (`--max-num-seqs`).
        cpu: for the build that computes on the processor, in 32 bit: with 16 it answered wrongly where the processor has none.
    """
    arguments = [
        *("serve", str(model_path), "--served-model-name", model.id),
        *("--host", host, "--port", str(port)),
        *("--max-model-len", str(context), "--max-num-seqs", str(parallel)),
        *("--shutdown-timeout", str(VLLM_SHUTDOWN_SECONDS), "--max-num-queued-reqs", str(tuning.max_queue)),
        *("--sse-keep-alive-interval", str(KEEP_ALIVE_SECONDS)),
    ]
    if cpu:
        arguments += ["--dtype", "float32"]
    if tool_parser := tuning.tool_parser or model.tool_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", tool_parser]
    if reasoning_parser := tuning.reasoning_parser or model.reasoning_parser:
        arguments += ["--reasoning-parser", reasoning_parser]
    if tuning.quantization:
        arguments += ["--quantization", tuning.quantization]
    if tuning.tensor_parallel > 1:
        arguments += ["--tensor-parallel-size", str(tuning.tensor_parallel)]
    if tuning.gpu_memory is not None:
        arguments += ["--gpu-memory-utilization", f"{tuning.gpu_memory:.2f}"]
    if tuning.kv_cache_bytes is not None:
        arguments += ["--kv-cache-memory-bytes", str(tuning.kv_cache_bytes)]
    return tuple(arguments)


def sglang_arguments(
    model: Model, model_path: Path | str, *, host: str, port: int, context: int, parallel: int, tuning: Tuning = Tuning()
) -> tuple[str, ...]:
    """Arguments of `python -m sglang.launch_server`. Its key could only be an argument, which others could read, so it gets none."""
    arguments = [
        *("--model-path", str(model_path), "--served-model-name", model.id),
        *("--host", host, "--port", str(port)),
        *("--context-length", str(context), "--max-running-requests", str(parallel)),
        *("--max-queued-requests", str(tuning.max_queue), "--enable-metrics"),
    ]
    if tool_parser := tuning.tool_parser or _for_sglang(model.tool_parser, _SGLANG_TOOL_PARSERS):
        arguments += ["--tool-call-parser", tool_parser]
    if reasoning_parser := tuning.reasoning_parser or _for_sglang(model.reasoning_parser, _SGLANG_REASONING_PARSERS):
        arguments += ["--reasoning-parser", reasoning_parser]
    if tuning.quantization:
        arguments += ["--quantization", tuning.quantization]
    if tuning.tensor_parallel > 1:
        arguments += ["--tp-size", str(tuning.tensor_parallel)]
    if tuning.gpu_memory is not None:
        arguments += ["--mem-fraction-static", f"{tuning.gpu_memory:.2f}"]
    return tuple(arguments)


def ollama_environment(*, listen: str, models: str, context: int | None, parallel: int, max_queue: int) -> Mapping[str, str]:
    """What `ollama serve` is told: it takes no arguments.

    Args:
        listen: `host:port`.
        models: folder of its models.
    """
    return {
        "OLLAMA_HOST": listen,
        "OLLAMA_MODELS": models,
        "OLLAMA_NUM_PARALLEL": str(parallel),
        "OLLAMA_MAX_QUEUE": str(max_queue),
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_KEEP_ALIVE": "-1",  # one that was put away would have to be loaded again by the next conversation
        "OLLAMA_NOHISTORY": "1",
        **({"OLLAMA_CONTEXT_LENGTH": str(context)} if context else {}),
    }


#: vLLM's names, which the catalogue has -> SGLang's, where they differ (read in sglang 0.5.23).
_SGLANG_TOOL_PARSERS: Mapping[str, str] = {"hermes": "qwen25", "openai": "gpt-oss", "llama3_json": "llama3", "qwen3_json": "qwen25"}
_SGLANG_REASONING_PARSERS: Mapping[str, str] = {"openai_gptoss": "gpt-oss", "deepseek_r1": "deepseek-r1", "deepseek_v3": "deepseek-v3"}


def _for_sglang(parser: str | None, names: Mapping[str, str]) -> str | None:
    return names.get(parser, parser) if parser else None
