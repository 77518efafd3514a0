"""The messages of one thread that are stored already, so that each is stored once.

A message is known by its content: graphs change messages in place, so neither its identity nor its id is enough. Comparing
with a copy of its fields costs a fraction of serialising it, which is what keeps a long conversation cheap.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage

_ATOMS = (str, int, float, bool, bytes, type(None))

#: Different contents kept under one message id, e.g. a subgraph's shortened copy beside the original.
_VARIANTS = 4

#: A message's type and a copy of its fields.
Snapshot = tuple[type, Any, Any]


class ThreadMessages:
    """Positions of a thread's messages. `next` is the first free position; `known` those that may be referred to."""

    def __init__(self, following: int = 0) -> None:
        self.next = following
        self._by_id: dict[str, list[tuple[Snapshot, int]]] = {}
        self._without_id: dict[bytes, int] = {}

    def find(self, message: BaseMessage) -> int | None:
        """Where a message of this very content is stored, if its id says where to look."""
        for (kind, fields, extra), position in self._by_id.get(message.id or "", ()):
            if kind is type(message) and fields == message.__dict__ and extra == message.__pydantic_extra__:
                return position
        return None

    def find_without_id(self, digest: bytes) -> int | None:
        """Where a message without id is stored, by a digest of its serialised form."""
        return self._without_id.get(digest)

    def add(self, message: BaseMessage, digest: bytes | None = None) -> int:
        """Take the next position for a message."""
        position = self.next
        self.next += 1
        self.remember(message, position, digest)
        return position

    def remember(self, message: BaseMessage, position: int, digest: bytes | None = None) -> None:
        """Know a message as stored at a position."""
        if not message.id:
            if digest is not None:
                self._without_id[digest] = position
            return
        try:
            snapshot = (type(message), _copied(message.__dict__), _copied(message.__pydantic_extra__))
        except _NotComparable:
            return  # it is stored again each time, as the stock saver does
        variants = self._by_id.setdefault(message.id, [])
        variants.insert(0, (snapshot, position))
        del variants[_VARIANTS:]


class _NotComparable(Exception):
    """A field holds something whose change could go unnoticed."""


def _copied(value: Any) -> Any:
    if isinstance(value, _ATOMS):
        return value
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    if type(value) is tuple:
        return tuple(_copied(item) for item in value)
    raise _NotComparable


def ranges(positions: list[int]) -> list[int]:
    """Positions in order as `[start, stop, start, stop, ...]`, stops excluded; the order of the list is kept."""
    found: list[int] = []
    for position in positions:
        if found and found[-1] == position:
            found[-1] += 1
        else:
            found += (position, position + 1)
    return found


def expanded(bounds: list[int]) -> list[int]:
    """The positions of `ranges`."""
    return [position for start, stop in zip(bounds[::2], bounds[1::2], strict=True) for position in range(start, stop)]
