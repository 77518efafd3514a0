"""A thread in the event streaming protocol: from what its runs wrote to numbered events that a subscription asked for.

Runs that were started by a command have written their events as clients read them. Of other runs, what can be said in the protocol
is said: how they go, their values, updates, tasks and custom events, as far as they stream them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import orjson

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.event import PROTOCOL, Event
from freehold.core.lifecycle import root_end
from freehold.core.run import Run
from freehold.server.follow import GAP
from freehold.server.parts import ServerParts
from freehold.server.thread_follow import METADATA, ThreadFollower, Told
from freehold.server.wire.streams import Place, Subscription, place_of

#: What runs of the classic kind stream under a name the protocol has as well.
_SHARED = frozenset({"values", "updates", "tasks"})

#: A run that was over when it was first looked at, and was accepted no longer ago than this, may be the one whose start the client has
#: just been told of.
JUST_NOW_SECONDS = 1.0

_ENDS = (b'"event":"completed"', b'"event":"failed"')
_PAUSE = b'"event":"interrupted"'


@dataclass(frozen=True)
class Numbered:
    """An event as clients read it; `number` None for an error, which has no place in the order."""

    place: Place | None
    number: int | None
    data: bytes

    @property
    def ends_a_run(self) -> bool:
        """Whether clients take it for the last of a run."""
        is_root = self.place is not None and self.place.channel == "lifecycle" and not self.place.namespace
        return is_root and any(end in self.data for end in (*_ENDS, _PAUSE))

    @property
    def method(self) -> str:
        """What its server-sent event is called."""
        return self.place.method if self.place else "error"

    @property
    def event_id(self) -> str | None:
        """What a client that lost the connection goes on behind."""
        return str(self.number) if self.number else None


class ProtocolFollower:
    """Follows a thread for one subscription; arguments as `ThreadFollower` has them."""

    def __init__(
        self, parts: ServerParts, caller: Caller, thread_id: UUID, asked: Subscription, since: int, *, may_be_missing: bool = False
    ) -> None:
        self._follower = ThreadFollower(parts, caller, thread_id, since=since, replay=True, may_be_missing=may_be_missing)
        self._asked = asked
        self._since = since
        #: How far it has read, wanted or not.
        self.position = since

    async def batches(self) -> AsyncGenerator[list[Numbered], None]:
        """Events as they come; an empty list where nothing was wanted of what came, and every second or two of silence.

        Ends when the thread is gone. Close it (`aclosing`).
        """
        async with aclosing(self._follower.told()) as told:
            async for some in told:
                if some is None:
                    yield []
                    continue
                found = list(self._told(some))
                if some.ending and not some.told_its_end:
                    found += self._ending(some)
                self.position = max([self.position, *(number for number, _ in some.events), *(one.number or 0 for one in found)])
                yield [numbered for numbered in found if self._wanted(numbered, some)]

    def _told(self, some: Told) -> Iterator[Numbered]:
        for number, event in some.events:
            if event.name == GAP:
                yield Numbered(None, None, gap(orjson.loads(event.data)["reason"]))
            elif event.name.startswith(PROTOCOL):
                yield Numbered(place_of(event.name), number, event.data)
            else:
                yield from self._classic(some.run, number, event)

    def _ending(self, some: Told) -> Iterator[Numbered]:
        """Of a run whose worker did not say how it ended, or whose kind does not."""
        ending, number = some.ending, some.number
        assert ending
        for interrupt in ending.interrupts:
            told = {"interrupt_id": interrupt.get("id"), "payload": interrupt.get("value"), "value": interrupt.get("value")}
            yield _event("input.requested", (), number, to_json(told))
            number += 1
        data = root_end(some.run.request.graph_id, ending.status, ending.error, waiting=bool(ending.interrupts))
        yield _event("lifecycle", (), number, to_json(data))

    def _classic(self, run: Run, number: int, event: Event) -> Iterator[Numbered]:
        kind, *namespace = event.name.split("|")
        if kind == METADATA and not run.request.event_streaming:
            attempt = orjson.loads(event.data).get("attempt")
            graph_name = run.request.graph_id
            began = {"event": "running", **({"graph_name": graph_name} if graph_name else {}), "attempt": attempt}
            yield _event("lifecycle", (), number, to_json(began))
        elif kind == "custom":
            yield _event(kind, namespace, number, b'{"payload":%s}' % event.data)
        elif kind in _SHARED:
            yield _event(kind, namespace, number, event.data)

    def _wanted(self, numbered: Numbered, some: Told) -> bool:
        if numbered.place is None:
            return True
        return self._asked.wants(numbered.place) and not (self._asked.watches_only and self._is_past(numbered, some))

    def _is_past(self, numbered: Numbered, some: Told) -> bool:
        """Whether a client that only follows how runs go would take this for the end of the run it is about to start."""
        if self._since or not some.was_over or (numbered.place and numbered.place.channel == "lifecycle" and numbered.place.namespace):
            return False
        if not some.is_newest:
            return True
        return some.age_seconds > JUST_NOW_SECONDS and any(end in numbered.data for end in _ENDS)


def _event(method: str, namespace: Sequence[str], number: int, data: bytes) -> Numbered:
    params = b'{"namespace":%s,"timestamp":%d,"data":%s}' % (to_json(namespace), number // 1000, data)
    whole = b'{"type":"event","event_id":"%d-0","seq":%d,"method":"%s","params":%s}' % (number, number, method.encode(), params)
    return Numbered(place_of("|".join((method, *namespace))), number, whole)


def gap(reason: str) -> bytes:
    """What a client is told where something is missing from what it reads; the stream goes on."""
    message = f"{reason}; read the thread's state to see where it stands"
    return to_json({"type": "error", "id": None, "error": "unknown_error", "message": message, "code": GAP})
