"""The messages of one thread that are stored already, and their contents, so that each is stored once.

A message is known by its content: graphs change messages in place, so neither its identity nor its id is enough. Comparing
with a copy of its fields costs a fraction of serialising it, which is what keeps a long conversation cheap.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from langchain_core.messages import BaseMessage

_ATOMS = (str, int, float, bool, bytes, type(None))

#: Different contents kept under one message id, e.g. a subgraph's shortened copy beside the original.
_VARIANTS = 4

#: A message's type and a copy of its fields.
Snapshot = tuple[type, Any, Any]


class ThreadMessages:
    """Positions of a thread's messages and contents; `next` is the first free one."""

    def __init__(self, following: int = 0) -> None:
        self.next = following
        #: Positions that hold a content, or a message without id.
        self.asides: set[int] = set()
        self._content_at: dict[str | bytes, int] = {}
        self._content_of: dict[int, int] = {}
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

    def find_content(self, key: str | bytes) -> int | None:
        """Where a content is stored."""
        return self._content_at.get(key)

    def content_of(self, position: int) -> int | None:
        """Where the content of the message at a position is stored, if not with it."""
        return self._content_of.get(position)

    def add(self, message: BaseMessage, digest: bytes | None = None, content: int | None = None) -> int:
        """Take the next position for a message."""
        position = self.next
        self.next += 1
        self.remember(message, position, digest, content=content)
        return position

    def add_content(self, key: str | bytes) -> int:
        """Take the next position for a content."""
        position = self.next
        self.next += 1
        self.remember_content(key, position)
        return position

    def remember_content(self, key: str | bytes, position: int) -> None:
        """Know a content as stored at a position."""
        self._content_at[key] = position
        self.asides.add(position)

    def remember(self, message: BaseMessage, position: int, digest: bytes | None = None, *, content: int | None = None) -> None:
        """Know a message as stored at a position, its content perhaps at another one."""
        if content is not None:
            self._content_of[position] = content
        if not message.id:
            self.asides.add(position)
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


def ranges(positions: Sequence[int], passed_over: Set[int] = frozenset()) -> list[int]:
    """Positions in their order as `[start, stop, start, stop, ...]`, stops excluded; ranges may go over some that are not among them."""
    found: list[int] = []
    for position in positions:
        between = found[-1] if found else position + 1
        while between < position and between in passed_over:
            between += 1
        if between == position:
            found[-1] = position + 1
        else:
            found += (position, position + 1)
    return found


def expanded(bounds: list[int]) -> list[int]:
    """The positions ranges go over."""
    return [position for start, stop in zip(bounds[::2], bounds[1::2], strict=True) for position in range(start, stop)]
