"""The models of a stack: what serves each, in how many servers, on which GPUs, processors and ports, and where it is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from freehold.config.model import FIRST_FURTHER_PORT, AnyModelSection, processors
from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, Incompatible
from freehold.core.machine import Machine
from freehold.models import memory
from freehold.stack import gpus
from freehold.stack.engine import GPU_ENGINES, Engine, EngineName, choose_engine, engine_name

#: Port of the first replica, where the settings name none.
FIRST_REPLICA_PORT = 8050

#: Keys that only some engines can follow.
_ONLY_FOR: Mapping[str, tuple[EngineName, ...]] = {
    "gpus": (*GPU_ENGINES, "ollama"),
    "gpu_memory": (*GPU_ENGINES, "ollama"),
    "tensor_parallel": GPU_ENGINES,
    "kv_cache_gb": ("vllm", "vllm-cpu"),
    "quantization": GPU_ENGINES,
    "tool_parser": (*GPU_ENGINES, "vllm-cpu"),
    "reasoning_parser": (*GPU_ENGINES, "vllm-cpu"),
}


@dataclass(frozen=True)
class Server:
    """One server of a model."""

    #: Name of its service: "model", "model-coder", or of a replica "model-2".
    service: str
    port: int
    #: Numbers of the GPUs it uses.
    gpus: tuple[int, ...] = ()
    #: Processors it is pinned to, e.g. "0-3".
    cpus: str | None = None


@dataclass(frozen=True)
class Served:
    """One model."""

    #: Its section of freehold.toml, "model" or "models.coder".
    key: str
    wanted: AnyModelSection
    engine: Engine
    #: Port by which others reach it.
    port: int
    #: Empty where an endpoint serves it.
    servers: tuple[Server, ...] = ()

    @property
    def name(self) -> str | None:
        """Its name in `[models.NAME]`; None: the default model."""
        return self.key.partition(".")[2] or None

    @property
    def service(self) -> str:
        """The service by which others reach it: its server, or what balances several; meaningless where an endpoint serves it."""
        return _called("balancer" if len(self.servers) > 1 else "model", self.name)

    @property
    def base_url(self) -> str:
        """Where clients send requests, with placeholders."""
        return self.wanted.base_url or f"http://${{address:{self.service}}}/v1"

    @property
    def secret(self) -> str | None:
        """Name of the secret that clients send."""
        if self.servers:
            return "model_key"
        return endpoint_secret(self.key) if self.wanted.base_url and self.wanted.api_key else None


def endpoint_secret(key: str) -> str:
    """Name of the secret with the key of a model's endpoint: `"models.small-coder"` → `"endpoint_key_small_coder"`."""
    name = key.partition(".")[2].replace("-", "_")
    return f"endpoint_key_{name}" if name else "endpoint_key"


def serve(settings: Settings, machine: Machine) -> tuple[Served, ...]:
    """Every model of the stack, the default one first.

    Raises:
        ConfigError: keys that do not go together, or with this machine; the message names them.
        Incompatible: an engine or model cannot run on this machine.
        OutOfSpace: a model does not fit; the message has the arithmetic.
    """
    sections = settings.every_model
    engines = {key: engine_name(key, wanted, machine) for key, wanted in sections.items()}
    for key, wanted in sections.items():
        _check(key, wanted, engines[key], machine, native=settings.stack.target == "native")
    on_gpus = {key: wanted for key, wanted in sections.items() if _uses_gpus(engines[key], machine)}
    assigned = gpus.assign(on_gpus, machine)
    ports = _Ports(settings)
    used, models = 0, []
    for key, wanted in sections.items():
        own = replace(machine, gpus=tuple(gpu for gpu in machine.gpus if gpu.index in assigned[key])) if key in assigned else machine
        room = _room(wanted, own, used) if key in assigned else _main_memory(machine, used)
        engine = choose_engine(key, wanted, engines[key], own, room)
        port, of_servers = ports.take(key, wanted) if engine.name not in ("openai", "none") else (wanted.port or 0, ())
        servers = tuple(_servers(key, wanted, of_servers, assigned.get(key, ())))
        used += 0 if key in assigned else _bytes(engine, wanted) * len(servers)
        models.append(Served(key, wanted, engine, port, servers))
    return tuple(models)


def _called(what: str, name: str | None) -> str:
    return f"{what}-{name}" if name else what


def _uses_gpus(engine: EngineName, machine: Machine) -> bool:
    return engine in GPU_ENGINES or (engine == "ollama" and bool(machine.gpus))


def _check(key: str, wanted: AnyModelSection, engine: EngineName, machine: Machine, *, native: bool) -> None:
    if engine in ("openai", "none"):
        return
    for name, field in type(wanted).model_fields.items():
        if name in _ONLY_FOR and getattr(wanted, name) != field.default and engine not in _ONLY_FOR[name]:
            raise ConfigError(f"{key}.{name}: {engine} has no use for it", hint=f"those that have: {', '.join(_ONLY_FOR[name])}")
    if engine == "sglang" and native:
        raise Incompatible(f'{key}.engine: SGLang runs in containers only (stack.target = "compose")', hint=f'set {key}.engine = "vllm"')
    if wanted.cpus is None:
        return
    if machine.system == "Darwin" and native:
        raise Incompatible(f"{key}.cpus: macOS does not let programs choose their processors", hint=f"use {key}.threads")
    if len(processors(wanted.cpus)) > machine.cpu_count:
        raise ConfigError(
            f"{key}.cpus: {wanted.cpus} are {len(processors(wanted.cpus))} processors, and this machine has {machine.cpu_count}"
        )


def _room(wanted: AnyModelSection, machine: Machine, used: int) -> memory.Room:
    """What one server of a model has on its GPUs; the smallest of them decides, as all hold equal parts."""
    if not machine.gpus:
        return _main_memory(machine, used)
    smallest = min(machine.gpus, key=lambda gpu: gpu.memory_bytes)
    count = wanted.tensor_parallel
    where = f"are usable on {f'{count} x ' if count > 1 else ''}{smallest.name}"
    return memory.Room(int(smallest.memory_bytes * gpus.share(wanted)) * count, where, count)


def _main_memory(machine: Machine, used: int) -> memory.Room:
    beside = "the system, the stack and other models" if used else "the system and the stack"
    return memory.Room(max(0, machine.memory_bytes - memory.SYSTEM_RESERVE - used), f"are left beside {beside}")


def _bytes(engine: Engine, wanted: AnyModelSection) -> int:
    if engine.entry is None or engine.context is None:
        return 0
    return memory.estimate(engine.entry, engine=engine.name, context=engine.context, parallel=wanted.parallel).total


def _servers(key: str, wanted: AnyModelSection, ports: Sequence[int], assigned: tuple[int, ...]) -> Iterable[Server]:
    name, count = _called("model", key.partition(".")[2] or None), len(ports)
    for index, port in enumerate(ports):
        yield Server(
            f"{name}-{index + 1}" if count > 1 else name,
            port,
            assigned[index * wanted.tensor_parallel : (index + 1) * wanted.tensor_parallel],
            _share_of(wanted.cpus, index, count) if wanted.cpus else None,
        )


def _share_of(cpus: str, index: int, count: int) -> str:
    """`("0-7", 1, 2)` → "4-7"."""
    all_of_them = processors(cpus)
    own = all_of_them[len(all_of_them) * index // count : len(all_of_them) * (index + 1) // count]
    if own[-1] - own[0] == len(own) - 1 and len(own) > 1:
        return f"{own[0]}-{own[-1]}"
    return ",".join(map(str, own))


class _Ports:
    """Gives out ports: those that the settings name, else the next free one."""

    def __init__(self, settings: Settings) -> None:
        self._named = {"server.port": settings.server.port}
        for key, wanted in settings.every_model.items():
            if wanted.is_ours:
                self._named |= {f"{key}.port": wanted.port} if wanted.port else {}
                self._named |= {f"{key}.replica_port": wanted.replica_port} if wanted.replica_port and wanted.replicas > 1 else {}
        self._taken: dict[int, str] = {}

    def take(self, key: str, wanted: AnyModelSection) -> tuple[int, tuple[int, ...]]:
        """The port by which a model is reached, and those of its servers."""
        port = self._one(f"{key}.port", wanted.port, FIRST_FURTHER_PORT)
        if wanted.replicas == 1:
            return port, (port,)
        first = self._one(f"{key}.replica_port", wanted.replica_port, FIRST_REPLICA_PORT)
        more = [
            self._one(f"{key}.replica_port", wanted.replica_port and first + number, first + number) for number in range(1, wanted.replicas)
        ]
        return port, (first, *more)

    def _one(self, key: str, wanted: int | None, first: int) -> int:
        if wanted is not None:
            other = self._taken.get(wanted) or next((name for name, port in self._named.items() if port == wanted and name != key), None)
            if other:
                raise ConfigError(f"{key}: expected another port than {other} ({wanted})")
            self._taken[wanted] = key
            return wanted
        free = next(port for port in range(first, 65536) if port not in self._taken and port not in self._named.values())
        self._taken[free] = key
        return free
