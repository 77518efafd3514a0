"""The messages of one thread that are stored already, and their contents, so that each is stored once.

A message is known by its content: graphs change messages in place, so neither its identity nor its id is enough. Comparing
with a copy of its fields costs a fraction of serialising it, which is what keeps a long conversation cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

import ormsgpack
from langchain_core.messages import BaseMessage

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})

#: Different contents kept under one message id, e.g. a subgraph's shortened copy beside the original.
_VARIANTS = 4

#: Positions a range passes over between two of its own; more begin another range.
MOST_PASSED = 8

#: A message's type, a copy of its fields, where it is stored, and the bytes of those fields whose numbers may change their type only.
Snapshot = tuple[type, dict[str, Any], dict[str, Any] | None, int, bytes | None]

#: Stand in copies for what is empty: most fields of most messages are.
_NO_DICT: dict[str, Any] = {}
_NO_LIST: list[Any] = []


class ThreadMessages:
    """Positions of a thread's messages and contents; `next` is the first free one."""

    def __init__(self, following: int) -> None:
        self.next = following
        #: Positions of messages without id, small ones: what a graph was given or returned, before it gave it an id.
        self.anonymous: set[int] = set()
        #: Large values that are stored.
        self.digests: set[bytes] = set()
        #: By namespace, the checkpoint read or stored last: its id, and the version and form of each channel's value.
        self.newest: dict[str, tuple[str, dict[str, tuple[Any, list[Any]]]]] = {}
        self._content_at: dict[str | bytes, int] = {}
        self._content_of: dict[int, int] = {}
        self._by_id: dict[str | None, tuple[Snapshot, ...]] = {}
        self._without_id: dict[bytes, int] = {}

    def find_all(self, messages: Sequence[BaseMessage]) -> list[int | None]:
        """Where messages of these very contents are stored, as far as their ids say where to look."""
        found: list[int | None] = []
        by_id = self._by_id.get
        for message in messages:  # the inner loop of every checkpoint of a long conversation: no call for a message
            fields = message.__dict__
            for kind, copied, extra, position, exactly in by_id(fields["id"], ()):
                same = copied == fields and kind is type(message) and extra == message.__pydantic_extra__
                if same and (exactly is None or exactly == _exactly(fields)):
                    found.append(position)
                    break
            else:
                found.append(None)
        return found

    def find_without_id(self, digest: bytes) -> int | None:
        """Where a message without id is stored, by a digest of its serialised form."""
        return self._without_id.get(digest)

    def find_content(self, key: str | bytes) -> int | None:
        """Where a content is stored."""
        return self._content_at.get(key)

    def contents_of(self, positions: Iterable[int]) -> set[int]:
        """Where the contents of the messages at positions are stored, of those that do not stand with them."""
        return {content for content in map(self._content_of.get, positions) if content is not None}

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

    def remember(self, message: BaseMessage, position: int, digest: bytes | None = None, *, content: int | None = None) -> None:
        """Know a message as stored at a position, its content perhaps at another one."""
        if content is not None:
            self._content_of[position] = content
        if not message.id:
            if digest is not None:
                self._without_id[digest] = position
            return
        try:
            fields = _copied_fields(message.__dict__)
            snapshot = (type(message), fields, _copied(message.__pydantic_extra__), position, _exactly(fields))
        except _NotComparable:
            return  # it is stored again each time, as the stock saver does
        self._by_id[message.id] = (snapshot, *self._by_id.get(message.id, ())[: _VARIANTS - 1])


class _NotComparable(Exception):
    """A field holds something whose change could go unnoticed."""


def _exactly(fields: dict[str, Any]) -> bytes | None:
    """To Python 1, 1.0 and True are equal, to a tool they are not. None where a message has nothing of that kind."""
    calls, more, artifact, content = fields.get("tool_calls"), fields.get("additional_kwargs"), fields.get("artifact"), fields["content"]
    if not calls and not more and not artifact and type(content) is str:
        return None
    return ormsgpack.packb([calls, more, artifact, content], option=ormsgpack.OPT_NON_STR_KEYS)


def _copied_fields(fields: dict[str, Any]) -> dict[str, Any]:
    copied = fields.copy()
    for key, item in fields.items():
        if type(item) not in _ATOMS:
            copied[key] = _copied(item)
    return copied


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()} if value else _NO_DICT
    if kind is list:
        return [_copied(item) for item in value] if value else _NO_LIST
    if kind is tuple:
        return tuple(_copied(item) for item in value)
    if isinstance(value, str):  # an enumeration's member
        return value
    raise _NotComparable


def ranges(positions: Sequence[int], passed_over: Set[int] = frozenset()) -> list[int]:
    """Positions in their order as `[start, stop, start, stop, ...]`, stops excluded; ranges may go over some that are not among them."""
    found: list[int] = []
    stop = -1
    for position in positions:
        between = stop
        until = min(position, stop + MOST_PASSED) if between in passed_over else between
        while between < until and between in passed_over:
            between += 1
        if between != position:
            found += (stop, position) if found else (position,)
        stop = position + 1
    return [*found, stop] if found else found


def expanded(bounds: list[int]) -> list[int]:
    """The positions ranges go over."""
    return [position for start, stop in zip(bounds[::2], bounds[1::2], strict=True) for position in range(start, stop)]
