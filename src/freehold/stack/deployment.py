"""What the parts of a stack are made from: settings, the machine it is for, the model that is served, what our programs are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from freehold.config.settings import Option, Settings
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.engine import Engine


@dataclass(frozen=True)
class Deployment:
    """Handed to every service that is more than a few of these."""

    settings: Settings
    machine: Machine
    engine: Engine
    #: Variables that server, worker and migration all get.
    told: Mapping[str, str]

    def has(self, option: Option) -> bool:
        """Whether an optional part runs. In containers the edge always does: it alone is reached from outside."""
        return option in self.settings.stack.services or (option == "edge" and self.settings.stack.target == "compose")


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
