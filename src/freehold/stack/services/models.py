"""The servers of all models: one service each, and a balancer before those of which there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from freehold.stack.engine import EngineName
from freehold.stack.served import Served, Server
from freehold.stack.service import Service
from freehold.stack.services import balancer, llama_cpp, ollama, sglang, vllm

#: What describes one server of a model, by engine.
ENGINES: Mapping[EngineName, Callable[[Served, Server], Service]] = {
    "llama.cpp": llama_cpp.service,
    "vllm": vllm.service,
    "vllm-cpu": vllm.service,
    "sglang": sglang.service,
    "ollama": ollama.service,
}


def services(models: Sequence[Served], *, contained: bool) -> Iterable[Service]:
    """Servers, what fetches their models where they do that themselves, and balancers. `contained`: in containers.

    Servers that share a GPU start one after the other: each measures what is free and takes its part of it.
    """
    earlier: list[Server] = []
    for model in models:
        if model.engine.name in ("openai", "none"):
            continue
        for server in model.servers:
            beside = tuple(other.service for other in earlier if set(other.gpus) & set(server.gpus))
            service = ENGINES[model.engine.name](model, server)
            yield replace(service, needs=(*service.needs, *beside), gpus=server.gpus or None, cpus=server.cpus)
            if model.engine.name == "ollama":
                yield ollama.pull(model, server)
        earlier += model.servers
        if len(model.servers) > 1:
            yield balancer.service(model, contained=contained)
