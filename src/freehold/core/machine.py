"""The machine a stack runs on, as a value: what the plan and the model choice need to know about it."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True)
class Gpu:
    """One accelerator."""

    name: str
    memory_bytes: int
    index: int = 0
    driver: str | None = None
    compute_capability: str | None = None


@dataclass(frozen=True)
class Machine:
    """Hardware and platform facts; detection is the target's work."""

    system: str  # "Linux", "Darwin"
    architecture: str  # "x86_64", "arm64"
    cpu_count: int  # cores this process may use
    memory_bytes: int  # total, or the container's limit where that is lower
    gpus: tuple[Gpu, ...] = ()

    @property
    def memory_gib(self) -> float:
        return self.memory_bytes / GIB
