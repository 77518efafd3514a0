"""How each engine is told to serve a model: pure functions from a model and its limits to a command's arguments and environment.

Keys never appear in arguments, where every user of the machine could read them: they travel in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freehold.models.catalogue import Model
from freehold.models.memory import PROMPT_CACHE_MIB

#: Environment variable that holds the API key of each engine's server.
LLAMA_CPP_KEY_VARIABLE = "LLAMA_API_KEY"
VLLM_KEY_VARIABLE = "VLLM_API_KEY"

#: Requests that wait in vLLM before new ones are refused with 503; its own default is an unbounded queue.
VLLM_QUEUED_REQUESTS = 256
#: vLLM's default of 0 would abort the answers under way on SIGTERM.
VLLM_SHUTDOWN_SECONDS = 30

#: vLLM reports nothing home and looks nothing up while it serves.
VLLM_ENVIRONMENT: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
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


def vllm_arguments(
    model: Model,
    model_path: Path | str,
    *,
    host: str,
    port: int,
    context: int,
    parallel: int,
    gpu_memory_utilisation: float | None = None,
) -> tuple[str, ...]:
    """Arguments of `vllm` (without the program itself).

    Args:
        model_path: folder with the model's files, or a repository name.
        parallel: conversations decoded at once (`--max-num-seqs`).
    """
    arguments = [
        *("serve", str(model_path), "--served-model-name", model.id),
        *("--host", host, "--port", str(port)),
        *("--max-model-len", str(context), "--max-num-seqs", str(parallel)),
        *("--shutdown-timeout", str(VLLM_SHUTDOWN_SECONDS), "--max-num-queued-reqs", str(VLLM_QUEUED_REQUESTS)),
    ]
    if model.tool_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", model.tool_parser]
    if model.reasoning_parser:
        arguments += ["--reasoning-parser", model.reasoning_parser]
    if gpu_memory_utilisation is not None:
        arguments += ["--gpu-memory-utilization", f"{gpu_memory_utilisation:.2f}"]
    return tuple(arguments)
