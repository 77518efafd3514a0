"""Which model gets which GPUs: those it names, else the largest that are free. Refused before anything starts where it cannot work."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.model import AnyModelSection
from freehold.core.errors import ConfigError
from freehold.core.machine import Machine
from freehold.models.memory import VLLM_UTILISATION

#: Of a GPU's memory, for all models on it together; the driver and each process's own context take the rest.
MOST_SHARED = 0.95


def share(wanted: AnyModelSection) -> float:
    """The part of each of its GPUs that a model takes."""
    return wanted.gpu_memory or VLLM_UTILISATION


def assign(wanted: Mapping[str, AnyModelSection], machine: Machine) -> Mapping[str, tuple[int, ...]]:
    """The GPUs of each model that runs on some, by the key of its section, e.g. `{"model": (0, 1)}`.

    Models that name theirs are served first, so that the others find what is left.

    Raises:
        ConfigError: a GPU is not there, there are too few, or models want more of one than it has.
    """
    taken: dict[str, tuple[int, ...]] = {}
    for key, model in sorted(wanted.items(), key=lambda item: item[1].gpus is None):
        taken[key] = _named(key, model, machine) if model.gpus is not None else _free(key, model, machine, _used(taken, wanted))
    for gpu in machine.gpus:
        _check_shared(gpu.index, [key for key in wanted if gpu.index in taken[key]], wanted)
    return {key: taken[key] for key in wanted}


def _named(key: str, model: AnyModelSection, machine: Machine) -> tuple[int, ...]:
    there = [gpu.index for gpu in machine.gpus]
    named = model.gpus or ()
    if missing := [index for index in named if index not in there]:
        raise ConfigError(
            f"{key}.gpus: GPU {missing[0]} is not there; this machine has {len(there)}: {there}",
            hint="`nvidia-smi` lists them; [machine] describes another machine",
        )
    return named


def _free(key: str, model: AnyModelSection, machine: Machine, used: Mapping[int, float]) -> tuple[int, ...]:
    count = model.tensor_parallel * model.replicas
    if count > len(machine.gpus):
        raise ConfigError(
            f"{key}.replicas: {model.replicas} x {key}.tensor_parallel {model.tensor_parallel} need {count} GPUs, "
            f"and this machine has {len(machine.gpus)}"
        )
    full = {gpu.index: used.get(gpu.index, 0) + share(model) > MOST_SHARED for gpu in machine.gpus}
    best = sorted(machine.gpus, key=lambda gpu: (full[gpu.index], -gpu.memory_bytes, gpu.index))
    return tuple(sorted(gpu.index for gpu in best[:count]))


def _used(taken: Mapping[str, tuple[int, ...]], wanted: Mapping[str, AnyModelSection]) -> Mapping[int, float]:
    used: dict[int, float] = {}
    for key, gpus in taken.items():
        for index in gpus:
            used[index] = used.get(index, 0) + share(wanted[key])
    return used


def _check_shared(index: int, keys: list[str], wanted: Mapping[str, AnyModelSection]) -> None:
    shares = [share(wanted[key]) for key in keys]
    if len(keys) > 1 and round(sum(shares), 4) > MOST_SHARED:
        names = " and ".join(f"{key}.gpu_memory" for key in keys)
        terms = " + ".join(f"{part:g}" for part in shares)
        raise ConfigError(
            f"{names}: {terms} = {sum(shares):g} of GPU {index} are asked for, and {MOST_SHARED} at most can be had",
            hint=f"give each a share, e.g. {keys[-1]}.gpu_memory = 0.45, or GPUs of their own with {keys[-1]}.gpus",
        )
