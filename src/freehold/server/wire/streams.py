"""Streams of a thread on the wire: what clients may ask to see of it, and which event is part of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import Field, field_validator

from freehold.core import sequence
from freehold.core.encode import to_json
from freehold.core.errors import InvalidRequest
from freehold.core.event import PROTOCOL, Event
from freehold.server.wire.body import Body

#: Channels of the event streaming protocol, besides `custom:NAME`.
CHANNELS = ("values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom")

#: Of these, what classic streams know under the same name.
_CLASSIC = frozenset({"values", "updates", "tasks", "checkpoints", "custom"})

ThreadStreamMode = Literal["run_modes", "lifecycle", "state_update"]

Segment = Annotated[str, Field(max_length=500)]
Namespace = Annotated[list[Segment], Field(max_length=50)]


class Subscription(Body):
    """Which events of a thread a client wants: `{"channels": ["messages", "custom:progress"], "namespaces": [["team"]], "depth": 1}`."""

    channels: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=100)]
    """values, updates, messages, tools, lifecycle, input, checkpoints, tasks, custom; or one name of these: custom:progress."""
    namespaces: Annotated[list[Namespace], Field(max_length=100)] | None = None
    """Namespaces to see, each with what is below it; a segment without `:` stands for every task of that node."""
    depth: Annotated[int, Field(ge=0)] | None = None
    """How far below these namespaces to look."""
    since: Annotated[int, Field(ge=0, le=sequence.MOST)] | None = None
    """Go on after the event with this `seq`."""

    @field_validator("channels")
    @classmethod
    def _known(cls, channels: list[str]) -> list[str]:
        unknown = [channel for channel in channels if channel not in CHANNELS and not (channel.startswith("custom:") and channel[7:])]
        if unknown:
            raise ValueError(f'there is no channel "{unknown[0][:40]}"; there are {", ".join(CHANNELS)} and custom:NAME')
        return channels

    @property
    def watches_only(self) -> bool:
        """Whether it follows how runs go rather than what they tell, as the SDKs do beside their other streams."""
        return {"lifecycle", "input"}.issuperset(self.channels)

    def wants(self, place: Place) -> bool:
        """Whether an event is part of it."""
        named = place.channel.startswith("custom:") and "custom" in self.channels
        return (named or place.channel in self.channels) and self._in_sight(place.namespace)

    def _in_sight(self, namespace: tuple[str, ...]) -> bool:
        if not self.namespaces:
            return True
        return any(
            _below(namespace, prefix) and (self.depth is None or len(namespace) - len(prefix) <= self.depth) for prefix in self.namespaces
        )


@dataclass(frozen=True)
class Place:
    """Where an event belongs: `Place("custom", "custom:progress", ("inner:1b2c…",))`."""

    method: str
    channel: str
    namespace: tuple[str, ...]


@lru_cache(maxsize=4096)
def place_of(name: str) -> Place:
    """From the name of an event in a run's log: `event:custom:progress|inner:1b2c…`, or of a classic run `values|inner:1b2c…`."""
    kind, *namespace = name.removeprefix(PROTOCOL).split("|")
    method = kind.partition(":")[0]
    channel = "input" if method == "input.requested" else kind
    return Place(method, channel, tuple(namespace))


def as_classic(event: Event) -> Event | None:
    """An event as streams of the classic kind have it; None for what they have no name for."""
    if not event.name.startswith(PROTOCOL):
        return event
    place = place_of(event.name)
    if place.method not in _CLASSIC:
        return None
    data = orjson.loads(event.data)["params"]["data"]
    if place.method == "custom" and "name" not in data:
        data = data["payload"]
    return Event(event.id, "|".join((place.method, *place.namespace)), to_json(data))


def _below(namespace: tuple[str, ...], prefix: list[str]) -> bool:
    if len(prefix) > len(namespace):
        return False
    return all(
        given == wanted or (":" not in wanted and given.partition(":")[0] == wanted)
        for given, wanted in zip(namespace, prefix, strict=False)
    )


def thread_stream_modes(given: Sequence[str]) -> frozenset[ThreadStreamMode]:
    """`["lifecycle", "state_update"]`, or `['["lifecycle"]']` as the JavaScript SDK writes it; without any, the events of the runs.

    Raises:
        InvalidRequest: there is no such mode.
    """
    known: frozenset[Any] = frozenset(get_args(ThreadStreamMode))
    chosen: set[Any] = {mode for part in given for mode in part.strip("[]").replace('"', "").split(",") if mode}
    for mode in chosen - known:
        raise InvalidRequest(f'stream_modes: there is no mode "{mode[:40]}"', hint=f"supported: {', '.join(sorted(known))}")
    return frozenset(chosen) or frozenset({"run_modes"})


class Again(Subscription):
    """A subscription taken up again on a new connection."""

    last_event_id: Annotated[str, Field(max_length=60)] = ""


class Command(Body):
    """A command of the protocol: `{"id": 1, "method": "run.start", "params": {"assistant_id": "agent", "input": {...}}}`."""

    id: Annotated[int, Field(ge=0, le=sequence.MOST, strict=True)]
    method: Annotated[str, Field(max_length=200, strict=True)]
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("params", mode="before")
    @classmethod
    def _none_is_empty(cls, params: Any) -> Any:
        return {} if params is None else params
