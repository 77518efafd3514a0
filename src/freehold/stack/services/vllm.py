"""vLLM: the engine for NVIDIA GPUs."""

from __future__ import annotations

from pathlib import Path

from freehold.config.settings import Settings
from freehold.models.engines import VLLM_ENVIRONMENT, VLLM_KEY_VARIABLE, VLLM_SHUTDOWN_SECONDS, vllm_arguments
from freehold.stack.engine import Engine
from freehold.stack.service import Health, Metrics, Port, Service


def service(settings: Settings, engine: Engine) -> Service:
    assert engine.entry is not None and engine.context is not None, "an engine that we start has a model"
    wanted = settings.model
    args = vllm_arguments(
        engine.entry, Path("${model}"), host="${listen}", port=wanted.port, context=engine.context, parallel=wanted.parallel
    )
    return Service(
        name="model",
        program="vllm",
        args=args,
        env={**VLLM_ENVIRONMENT, VLLM_KEY_VARIABLE: "${secret:model_key}"},
        ports=(Port(wanted.port, wanted.host, "model.port", "--model-port"),),
        # Loading, compiling and warming up a large model takes minutes.
        health=Health("http", "http://${address:model}/health", start_seconds=1200),
        grace_seconds=VLLM_SHUTDOWN_SECONDS + 10,
        metrics=Metrics(key="model_key"),
        networks=("models", "observe"),
        about=f"vLLM: {engine.entry.title}",
    )
