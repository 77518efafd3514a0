"""What a subscription asks for, and which events are part of it."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_sdk.stream.subscription import matches_subscription
from pydantic import ValidationError

from freehold.core.errors import InvalidRequest
from freehold.core.event import Event, EventId
from freehold.server.wire.streams import Subscription, as_classic, place_of, thread_stream_modes


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("event:values", ("values", "values", ())),
        ("event:custom:counts|inner:1|deep:2", ("custom", "custom:counts", ("inner:1", "deep:2"))),
        ("event:input.requested|inner:1", ("input.requested", "input", ("inner:1",))),
        ("updates|inner:1", ("updates", "updates", ("inner:1",))),
    ],
)
def test_an_events_name_says_where_it_belongs(name: str, place: tuple[Any, ...]) -> None:
    found = place_of(name)
    assert (found.method, found.channel, found.namespace) == place


SUBSCRIPTIONS: tuple[dict[str, Any], ...] = (
    {"channels": ["values"]},
    {"channels": ["custom"]},
    {"channels": ["custom:counts", "input"]},
    {"channels": ["values"], "namespaces": [["inner"]]},
    {"channels": ["values"], "namespaces": [["inner:1"]]},
    {"channels": ["values"], "namespaces": [["inner:2"]]},
    {"channels": ["values", "custom"], "namespaces": [[]], "depth": 0},
    {"channels": ["values", "custom"], "namespaces": [[]], "depth": 1},
    {"channels": ["values"], "depth": 0},
    {"channels": ["values"], "namespaces": [["inner"], ["other"]], "depth": 0},
)
EVENTS = (
    "event:values",
    "event:values|inner:1",
    "event:values|inner:1|deep:2",
    "event:custom",
    "event:custom:counts|inner:1",
    "event:input.requested",
)


@pytest.mark.parametrize("asked", SUBSCRIPTIONS, ids=str)
@pytest.mark.parametrize("name", EVENTS)
def test_a_subscription_wants_what_the_official_client_takes_for_it(asked: dict[str, Any], name: str) -> None:
    place = place_of(name)
    data = {"name": place.channel.partition(":")[2]} if place.channel.startswith("custom:") else {}
    event: Any = {"type": "event", "method": place.method, "params": {"namespace": list(place.namespace), "data": data}}
    assert Subscription.model_validate(asked).wants(place) == matches_subscription(event, asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked",
    [
        {"channels": []},
        {"channels": "values"},
        {"channels": ["thoughts"]},
        {"channels": ["custom:"]},
        {"channels": ["values"], "depth": -1},
        {"channels": ["values"], "since": -1},
        {"channels": ["values"], "since": 2**53},
        {"channels": ["values"], "namespaces": [["x" * 501]]},
        {"channels": ["values"] * 101},
    ],
)
def test_other_subscriptions_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Subscription.model_validate(asked)


@pytest.mark.parametrize(
    ("given", "modes"),
    [
        ([], {"run_modes"}),
        (["lifecycle", "state_update"], {"lifecycle", "state_update"}),
        (['["lifecycle","state_update"]'], {"lifecycle", "state_update"}),
    ],
)
def test_modes_of_a_threads_stream_are_read(given: list[str], modes: set[str]) -> None:
    assert thread_stream_modes(given) == modes


def test_other_modes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match='no mode "values"'):
        thread_stream_modes(["values"])


def test_events_of_the_protocol_are_shown_to_classic_clients_under_the_names_they_know() -> None:
    def event(name: str, data: bytes) -> Event:
        return Event(EventId(1, 2), name, b'{"params":{"data":' + data + b"}}")

    shown = as_classic(event("event:updates|inner:1", b'{"a":1}'))
    assert shown and (shown.id, shown.name, shown.data) == (EventId(1, 2), "updates|inner:1", b'{"a":1}')
    assert (custom := as_classic(event("event:custom", b'{"payload":3}'))) and custom.data == b"3"
    assert as_classic(event("event:messages", b"{}")) is None
    plain = Event(EventId(1, 3), "values", b"{}")
    assert as_classic(plain) is plain
