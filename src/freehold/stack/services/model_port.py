"""The port of a model server, and the key of freehold.toml that changes it."""

from __future__ import annotations

from freehold.stack.served import Served, Server
from freehold.stack.service import Port


def model_port(model: Served, server: Server | None = None) -> Port:
    """The port of one of the model's servers; without `server` the one by which the model is reached."""
    if server and len(model.servers) > 1:
        return Port(server.port, model.wanted.host, f"{model.key}.replica_port")
    return Port(model.port, model.wanted.host, f"{model.key}.port", None if model.name else "--model-port")
