"""llama.cpp's own server: GGUF models on CPUs, laptops and Macs."""

from __future__ import annotations

from pathlib import Path

from freehold.config.model import processors
from freehold.models.engines import LLAMA_CPP_KEY_VARIABLE, llama_cpp_arguments
from freehold.stack.served import Served, Server
from freehold.stack.service import Health, Metrics, Service
from freehold.stack.services.model_port import model_port


def service(model: Served, server: Server) -> Service:
    engine, wanted = model.engine, model.wanted
    assert engine.entry is not None and engine.context is not None, "an engine that we start has a model"
    args = llama_cpp_arguments(
        engine.entry,
        Path("${model}"),
        host="${listen}",
        port=server.port,
        context=engine.context,
        parallel=wanted.parallel,
        threads=wanted.threads or (len(processors(server.cpus)) if server.cpus else None),
    )
    return Service(
        name=server.service,
        program="llama-server",
        args=args,
        env={LLAMA_CPP_KEY_VARIABLE: "${secret:model_key}"},
        ports=(model_port(model, server),),
        health=Health("http", f"http://${{address:{server.service}}}/health", start_seconds=300),
        grace_seconds=10,
        metrics=Metrics(key="model_key"),
        networks=("models", "observe"),
        about=f"llama.cpp: {engine.entry.title}",
    )
