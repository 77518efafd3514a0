"""What the parts of a stack are made from: settings, the machine it is for, the models that are served, what our programs are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from freehold.config.settings import Option, Settings
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.engine import Engine
from freehold.stack.served import Served


@dataclass(frozen=True)
class Deployment:
    """Handed to every service that is more than a few of these."""

    settings: Settings
    machine: Machine
    #: What is served and by what; the default model first.
    served: tuple[Served, ...]
    #: Variables that server, worker and migration all get.
    told: Mapping[str, str]

    @property
    def engine(self) -> Engine:
        """What serves the default model and which model it is."""
        return self.served[0].engine

    def has(self, option: Option) -> bool:
        """Whether an optional part runs. In containers the edge always does: it alone is reached from outside."""
        return has(self.settings, option)


def has(settings: Settings, option: Option) -> bool:
    """As `Deployment.has`, before there is one."""
    return option in settings.stack.services or (option == "edge" and settings.stack.target == "compose")


def within_containers(settings: Settings) -> Settings:
    """The settings as our own programs are told them in containers, where each service has an address of its own.

    There the server is always reached through others, so it takes a credential from everybody.
    """
    everywhere = "0.0.0.0"  # noqa: S104 - inside a container
    return settings.model_copy(
        update={
            "server": settings.server.model_copy(update={"host": everywhere}),
            "model": settings.model.model_copy(update={"host": everywhere}),
            "models": {name: model.model_copy(update={"host": everywhere}) for name, model in settings.models.items()},
            "agents": settings.agents.model_copy(update={"config": None}),
            "webhooks": settings.webhooks.model_copy(
                update={"server_url": settings.webhooks.server_url or f"http://server:{settings.server.port}"}
            ),
        }
    )


def described(settings: Settings, detected: Machine) -> Machine:
    """The machine that the settings describe; what they leave out is as it was detected."""
    wanted = settings.machine
    return replace(
        detected,
        cpu_count=wanted.cpus or detected.cpu_count,
        memory_bytes=int(wanted.memory_gb * GIB) if wanted.memory_gb else detected.memory_bytes,
        gpus=detected.gpus
        if wanted.gpus is None
        else tuple(Gpu(gpu.name, int(gpu.memory_gb * GIB), index) for index, gpu in enumerate(wanted.gpus)),
    )
