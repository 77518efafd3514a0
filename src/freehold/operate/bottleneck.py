"""What a stack waits for, and what to add: decided from a handful of measures. Pure; `load.py` takes them.

The order is the order of certainty. A part that says itself that others queue for it (the database's pool, the model server) is it.
Otherwise, where runs wait because every place of the workers is taken, it is what those places spend their time on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["none", "model", "tools", "database", "workers", "processors", "memory"]

#: Share of the busy places that, doing one thing, makes it the one thing runs wait for.
MOST_OF_THEM = 0.6
#: Statements that wait for a connection, on average, from which on the database's pools are too small.
WAITING_STATEMENTS = 1.0
#: From here on there is no room in a KV cache, no processor and no memory to speak of, as shares.
FULL_CACHE = 0.9
FULL_PROCESSORS = 0.9
FULL_MEMORY = 0.95
#: Seconds a run may wait beside free places before that is strange.
STRANGE_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class ModelLoad:
    """One model server, as it says itself. None: it does not say."""

    service: str
    running: float
    waiting: float
    cache_usage: float | None = None
    #: Requests it takes at once.
    places: int | None = None

    @property
    def has_room(self) -> bool:
        return self.waiting < 1 and (self.cache_usage or 0) < FULL_CACHE and (self.places is None or self.running < self.places)


@dataclass(frozen=True)
class Load:
    """What was measured, each on average over a moment. Shares are 0 to 1; NaN: only the database could tell, and it does not answer."""

    queue_depth: float = 0.0
    queue_age_seconds: float = 0.0
    slots: float = 0.0
    busy: float = 0.0
    #: Model calls under way in our agents.
    model_calls: float = 0.0
    #: Tool calls under way, by tool.
    tool_calls: Mapping[str, float] = field(default_factory=dict)
    statements_waiting: float = 0.0
    models: tuple[ModelLoad, ...] = ()
    processors: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Bottleneck:
    """What is waited for, why we think so, and what to add. `part` "none": nothing waits."""

    part: Part
    why: str
    todo: str | None = None


def find(load: Load) -> Bottleneck:
    """What this stack waits for."""
    if math.isnan(load.queue_depth):
        return Bottleneck("database", "the database does not answer", "`freehold logs postgres` says why")
    if load.statements_waiting >= WAITING_STATEMENTS:
        why = f"{load.statements_waiting:.0f} statements wait for a connection to the database"
        return Bottleneck("database", why, "raise database.pool_size, or look for slow statements of your own")
    if load.memory >= FULL_MEMORY:
        why = f"{load.memory:.0%} of the machine's memory is taken"
        return Bottleneck("memory", why, "a smaller model or context, fewer workers, or more memory")
    for model in load.models:
        if model.waiting >= 1 or (model.cache_usage or 0) >= FULL_CACHE:
            return _model(model)
    return _of_queue(load) if load.queue_depth >= 1 else Bottleneck("none", "nothing waits")


def _model(model: ModelLoad) -> Bottleneck:
    cache = f", {model.cache_usage:.0%} of its KV cache is in use" if model.cache_usage is not None else ""
    why = f"{model.waiting:.0f} requests wait in {model.service}, {model.running:.0f} are answered{cache}"
    return Bottleneck(
        "model", why, "a second replica or a larger GPU; a smaller model or shorter contexts; or model.parallel, if memory allows"
    )


def _of_queue(load: Load) -> Bottleneck:
    waits = f"{load.queue_depth:.0f} runs wait, the first for {load.queue_age_seconds:.0f} s"
    if load.slots < 1:
        return Bottleneck("workers", f"{waits}, and no worker runs", "`freehold status` and `freehold logs worker` say why")
    if load.busy <= load.slots - 1:
        if load.queue_age_seconds < STRANGE_WAIT_SECONDS:
            return Bottleneck("none", "runs that came just now are being taken")
        return Bottleneck("workers", f"{waits}, though workers have places free", "`freehold logs worker` says why they do not take them")
    full = f"{waits}; all {load.slots:.0f} places of the workers are taken"
    in_tools = sum(load.tool_calls.values()) / load.busy
    in_models = load.model_calls / load.busy
    if in_tools >= MOST_OF_THEM and in_tools >= in_models:
        tool = max(load.tool_calls, key=lambda name: load.tool_calls[name])
        why = f"{full}, {in_tools:.0%} of the time by tools, most of all {tool}"
        return Bottleneck(
            "tools", why, f"make {tool} faster or give it a timeout; where it only waits for others, raise worker.concurrency"
        )
    if in_models >= MOST_OF_THEM and not (load.models and all(model.has_room for model in load.models)):
        why = f"{full}, {in_models:.0%} of the time by calls of the model"
        return Bottleneck("model", why, "a second replica, a larger GPU or another endpoint; a smaller model; shorter prompts and answers")
    if load.processors >= FULL_PROCESSORS:
        why = f"{full}, and {load.processors:.0%} of the machine's processors are busy"
        return Bottleneck("processors", why, "more processors, or another machine for the model; more workers would not help")
    return Bottleneck("workers", full, "raise worker.count or worker.concurrency")
