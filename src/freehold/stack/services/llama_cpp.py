"""llama.cpp's own server: GGUF models on CPUs, laptops and Macs."""

from __future__ import annotations

from pathlib import Path

from freehold.config.settings import Settings
from freehold.models.engines import LLAMA_CPP_KEY_VARIABLE, llama_cpp_arguments
from freehold.stack.engine import Engine
from freehold.stack.service import Health, Metrics, Port, Service


def service(settings: Settings, engine: Engine) -> Service:
    assert engine.entry is not None and engine.context is not None, "an engine that we start has a model"
    wanted = settings.model
    args = llama_cpp_arguments(
        engine.entry,
        Path("${model}"),
        host="${listen}",
        port=wanted.port,
        context=engine.context,
        parallel=wanted.parallel,
        threads=wanted.threads,
    )
    return Service(
        name="model",
        program="llama-server",
        args=args,
        env={LLAMA_CPP_KEY_VARIABLE: "${secret:model_key}"},
        ports=(Port(wanted.port, wanted.host, "model.port", "--model-port"),),
        health=Health("http", "http://${address:model}/health", start_seconds=300),
        grace_seconds=10,
        metrics=Metrics(key="model_key"),
        networks=("models", "observe"),
        about=f"llama.cpp: {engine.entry.title}",
    )
