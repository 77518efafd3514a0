"""Ollama: models of its own library. It fetches them itself, by a task after its start, and has neither a key nor metrics."""

from __future__ import annotations

from freehold.models.engines import ollama_environment
from freehold.stack.served import Served, Server
from freehold.stack.service import Health, Service, Volume
from freehold.stack.services.model_port import model_port


def service(model: Served, server: Server) -> Service:
    wanted = model.wanted
    told = ollama_environment(
        listen=f"${{listen}}:{server.port}",
        models=f"${{data:{server.service}}}",
        context=model.engine.context,
        parallel=wanted.parallel,
        max_queue=wanted.max_queue,
    )
    return Service(
        name=server.service,
        program="ollama",
        args=("serve",),
        env=told,
        ports=(model_port(model, server),),
        volumes=(Volume(server.service, "models that Ollama fetched"),),
        health=Health("http", f"http://${{address:{server.service}}}/api/version"),
        networks=("models", "out"),
        about=f"Ollama: {model.engine.model}",
    )


def pull(model: Served, server: Server) -> Service:
    """Fetches the model into a server that runs."""
    return Service(
        name=f"{server.service}-pull",
        kind="task",
        program="ollama",
        args=("pull", model.engine.model),
        env={"OLLAMA_HOST": f"http://${{address:{server.service}}}"},
        needs=(server.service,),
        restarts=False,
        networks=("models",),
        about=f"Ollama fetches {model.engine.model}",
    )
