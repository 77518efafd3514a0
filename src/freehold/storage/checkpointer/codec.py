"""How values are stored: messages by position, other large values by digest, small ones where they are used.

A stored value is a node, one of
  ["v", type, bytes]      a small value, serialised
  ["b", digest]           a large value in thread_blobs
  ["o", position]         one message
  ["m", [start, stop, …]] a list of messages, as ranges of positions
  ["d", {key: node}]      a dict that holds messages, or a large one
Every user value passes through the serialiser, so with an encrypting one nothing of it is stored in clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import ormsgpack
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from freehold.core.errors import Incompatible
from freehold.storage.checkpointer.messages import ThreadMessages, expanded, ranges

#: Bytes up to which a value is stored inside every checkpoint that has it: about what a row of its own would cost in keys.
INLINE_BYTES = 192

_PACKING = ormsgpack.OPT_NON_STR_KEYS

Node = list[Any]


@dataclass
class Rows:
    """What one operation adds: new messages and blobs, and the references its values hold."""

    messages: list[tuple[int, str | None, bytes]] = field(default_factory=list)
    blobs: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)
    positions: set[int] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)


class Encoder:
    """Turns values of one operation into nodes, collecting what must be stored beside them."""

    def __init__(self, serde: SerializerProtocol, known: ThreadMessages) -> None:
        self._serde = serde
        self._known = known
        self.rows = Rows()

    def node(self, value: Any) -> Node:
        if isinstance(value, BaseMessage):
            return ["o", self._position(value)]
        if type(value) is list and value and all(isinstance(item, BaseMessage) for item in value):
            return ["m", ranges([self._position(item) for item in value])]
        if type(value) is dict and _holds_messages(value):
            return ["d", {key: self.node(item) for key, item in value.items()}]
        return self._plain(value, divide=True)

    def _plain(self, value: Any, *, divide: bool = False) -> Node:
        kind, data = self._serde.dumps_typed(value)
        if len(data) <= INLINE_BYTES:
            return ["v", kind, data]
        if divide and type(value) is dict and _has_plain_keys(value):
            # The parts of an input are what its first task writes to the channels: stored once for both.
            return ["d", {key: self._plain(item) for key, item in value.items()}]
        digest = blake2b(data, digest_size=16, key=kind.encode()).digest()
        self.rows.blobs[digest] = (kind, data)
        self.rows.digests.add(digest)
        return ["b", digest]

    def _position(self, message: BaseMessage) -> int:
        position = self._known.find(message)
        if position is None:
            kind, data = self._serde.dumps_typed(message)
            digest = None if message.id else blake2b(data, digest_size=16).digest()
            position = self._known.find_without_id(digest) if digest else None
            if position is None:
                position = self._known.add(message, digest)
                self.rows.messages.append((position, None if kind == "msgpack" else kind, data))
        self.rows.positions.add(position)
        return position


def _has_plain_keys(value: Mapping[Any, Any]) -> bool:
    return all(type(key) is str for key in value)


def _holds_messages(value: Mapping[Any, Any]) -> bool:
    """A dict with messages, or lists of them, directly in it; its keys must be what msgpack keeps."""
    firsts = (item[0] if type(item) is list and item else item for item in value.values())
    return _has_plain_keys(value) and any(isinstance(first, BaseMessage) for first in firsts)


@dataclass
class Wanted:
    """Messages and blobs that must be fetched before nodes can be turned into values."""

    positions: set[int] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)

    def add(self, node: Node) -> None:
        match node[0]:
            case "o":
                self.positions.add(node[1])
            case "m":
                self.positions.update(expanded(node[1]))
            case "b":
                self.digests.add(node[1])
            case "d":
                for item in node[1].values():
                    self.add(item)


@dataclass(frozen=True)
class Fetched:
    """Messages by position and blobs by digest, each (type, bytes)."""

    messages: Mapping[int, tuple[str, bytes]]
    blobs: Mapping[bytes, tuple[str, bytes]]


class Decoder:
    """Turns nodes back into values and remembers the messages it has seen. Raises Incompatible for what cannot be read."""

    def __init__(self, serde: SerializerProtocol, fetched: Fetched, known: ThreadMessages | None = None) -> None:
        self._serde = serde
        self._fetched = fetched
        self._known = known
        self._encrypted = isinstance(serde, EncryptedSerializer)

    def value(self, node: Node) -> Any:
        match node[0]:
            case "v":
                return self._load(node[1], node[2])
            case "b":
                return self._load(*self._there(self._fetched.blobs, node[1], "value"))
            case "o":
                return self._message(node[1])
            case "m":
                return [self._message(position) for position in expanded(node[1])]
            case "d":
                return {key: self.value(item) for key, item in node[1].items()}
        raise Incompatible(f"a checkpoint holds a value of kind {node[0]!r}", hint="a newer version of Freehold wrote it; use that one")

    def _message(self, position: int) -> BaseMessage:
        message = cast(BaseMessage, self._load(*self._there(self._fetched.messages, position, "message")))
        if self._known is not None and isinstance(message, BaseMessage):
            self._known.remember(message, position)
        return message

    def _load(self, kind: str, data: bytes) -> Any:
        if self._encrypted and "+" not in kind:
            raise Incompatible(
                "a stored value is not encrypted, but this checkpointer has a key", hint="read it with a checkpointer without a key"
            )
        return self._serde.loads_typed((kind, data))

    @staticmethod
    def _there(found: Mapping[Any, tuple[str, bytes]], key: Any, what: str) -> tuple[str, bytes]:
        if key not in found:
            raise Incompatible(f"a checkpoint refers to a {what} that is not stored", hint="restore the database from a backup")
        return found[key]


def pack(value: Any) -> bytes:
    """Bookkeeping as msgpack; it holds nodes, versions and names, never a user's object."""
    return ormsgpack.packb(value, option=_PACKING)


def unpack(data: bytes) -> Any:
    """What `pack` stored."""
    return ormsgpack.unpackb(data, option=_PACKING)


def multirange(positions: set[int]) -> str | None:
    """Positions as Postgres writes an int4multirange."""
    bounds = ranges(sorted(positions))
    return "{" + ",".join(f"[{start},{stop})" for start, stop in zip(bounds[::2], bounds[1::2], strict=True)) + "}" if bounds else None


def digest_array(digests: set[bytes]) -> str | None:
    """Digests as Postgres writes a bytea[]."""
    return "{" + ",".join(f'"\\\\x{digest.hex()}"' for digest in sorted(digests)) + "}" if digests else None


def bounds_of(positions: Sequence[int]) -> tuple[list[int], list[int]]:
    """Starts and stops of the ranges that cover positions."""
    bounds = ranges(sorted(positions))
    return bounds[::2], bounds[1::2]
