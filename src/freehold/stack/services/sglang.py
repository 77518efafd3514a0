"""SGLang: another engine for NVIDIA GPUs. In containers only, on the network of the models alone, as it takes its key as an argument."""

from __future__ import annotations

from pathlib import Path

from freehold.models.engines import SGLANG_ENVIRONMENT, sglang_arguments
from freehold.stack.served import Served, Server
from freehold.stack.service import Health, Metrics, Service
from freehold.stack.services.model_port import model_port
from freehold.stack.services.vllm import tuning


def service(model: Served, server: Server) -> Service:
    engine, wanted = model.engine, model.wanted
    assert engine.entry is not None and engine.context is not None, "an engine that we start has a model"
    args = sglang_arguments(
        engine.entry,
        Path("${model}"),
        host="${listen}",
        port=server.port,
        context=engine.context,
        parallel=wanted.parallel,
        tuning=tuning(model),
    )
    return Service(
        name=server.service,
        program="sglang",
        args=args,
        env=SGLANG_ENVIRONMENT,
        ports=(model_port(model, server),),
        health=Health("http", f"http://${{address:{server.service}}}/health", start_seconds=1200),
        grace_seconds=40,
        metrics=Metrics(),
        networks=("models", "observe"),
        about=f"SGLang: {engine.entry.title}",
    )
