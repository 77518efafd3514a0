"""Events of a run and their ids: `{epoch}-{seq}`, ordered as Valkey orders stream ids, so a stale worker's append is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from freehold.core.errors import InvalidRequest

_SHAPE = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True, order=True)
class EventId:
    """Position of an event: the epoch (claim) of the run that wrote it and its number within."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """`"3-17"` → EventId(3, 17); `"-1"` and `""` mean the start.

        Raises:
            InvalidRequest: any other text.
        """
        if text in {"", "-1", "0"}:
            return START
        if not (match := _SHAPE.fullmatch(text)):
            raise InvalidRequest(f'Last-Event-ID: expected "-1" or an id this server sent, such as "1-42", got {text[:40]!r}')
        return cls(int(match[1]), int(match[2]))


#: Before the first event of any run.
START = EventId(0, 0)

#: Begins the name of an event that is told as the event streaming protocol has it: `event:values|inner:1b2c…`.
PROTOCOL = "event:"

#: Name of the record that closes a run's stream; not sent to clients.
END = "end"


@dataclass(frozen=True)
class Event:
    """One server-sent event: `data` is JSON already, encoded once by the worker."""

    id: EventId
    name: str
    data: bytes
