"""How values are stored: messages by position, other large values by digest, small ones where they are used.

A stored value is a node, one of
  ["v", type, bytes]      a small value, serialised
  ["b", digest]           a large value in thread_blobs
  ["o", position]         one message
  ["m", [start, stop, …]] a list of messages, as ranges of positions
  ["i", [start, stop, …]] the same where all of them have ids: what belongs to them and is no such message is passed over
  ["c", position]         a content
  ["d", {key: node}]      a dict that holds messages, or a large one
  ["l", [node, …]]        a list of messages a graph was given or returned as dicts, `{"role": …, "content": …}`
A message is stored whole, or with a reference to its content where that is stored already: a graph's input and what its
nodes return are stored before the graph makes messages of them, and give them ids.
Every user value passes through the serialiser, so with an encrypting one nothing of it is stored in clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import ormsgpack
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from freehold.core.errors import Incompatible
from freehold.storage.checkpointer.messages import ThreadMessages, expanded, ranges
from freehold.storage.checkpointer.revive import OWN_KINDS, revived

#: Bytes up to which a value is stored inside every checkpoint that has it: about what a row of its own would cost in keys.
INLINE_BYTES = 192

#: How rows of thread_messages are marked that hold something else than a whole message with an id: a content (plain msgpack, or with
#: the name of how it is serialised), a message that refers to one, and a message without id, which may refer to one.
PLAIN_CONTENT = ":content"
CONTENT = ":content in"
REFERRING = ":refers"
ANONYMOUS = ":anonymous"

_PASSED = frozenset({PLAIN_CONTENT, CONTENT, ANONYMOUS})

#: How texts begin in msgpack: there is nothing in them for a serialiser to revive.
_TEXTS = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB})

#: Bytes of a message without id up to which reading a conversation fetches it too, where it stands between two of its messages.
ASIDE_BYTES = 512

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

    def __init__(self, serde: SerializerProtocol, known: ThreadMessages, salt: bytes = b"") -> None:
        self._serde = serde
        self._salt = salt  # what is stored sealed must not be told by its digest
        self._known = known
        self.rows = Rows()

    def node(self, value: Any) -> Node:
        if isinstance(value, BaseMessage):
            return ["o", self._position(value)]
        if type(value) is list and value and all(isinstance(item, BaseMessage) for item in value):
            return self._messages(value)
        if type(value) is dict and _holds_messages(value):
            return ["d", {key: self.node(item) for key, item in value.items()}]
        return self._plain(value, divide=True)

    def refer(self, node: Node) -> None:
        """A value that is stored already, in this form."""
        for leaf in leaves(node):
            match leaf[0]:
                case "o" | "c":
                    self._refer(leaf[1:])
                case "m" | "i":
                    self._refer(expanded(leaf[1]))
                case "b":
                    self.rows.digests.add(leaf[1])

    def _plain(self, value: Any, *, divide: bool = False) -> Node:
        kind, data = self._serde.dumps_typed(value)
        if len(data) <= INLINE_BYTES:
            return ["v", kind, data]
        if divide and type(value) is dict and _has_plain_keys(value):
            # The parts of an input are what its first task writes to the channels: stored once for both.
            return ["d", {key: self._plain(item) for key, item in value.items()}]
        if type(value) is list and all(_is_message(item) for item in value):
            return ["l", [["d", {key: self._part(key, item) for key, item in message.items()}] for message in value]]
        digest = blake2b(data, digest_size=16, key=kind.encode(), salt=self._salt).digest()
        self.rows.digests.add(digest)
        if digest not in self._known.digests:
            self._known.digests.add(digest)
            self.rows.blobs[digest] = (kind, data)
        return ["b", digest]

    def _messages(self, messages: Sequence[BaseMessage]) -> Node:
        found = self._known.find_all(messages)
        positions = [self._find_or_add(messages[place]) if position is None else position for place, position in enumerate(found)]
        kind, bounds = "m", ranges(positions)
        if all(message.id for message in messages):
            kind, bounds = "i", ranges(positions, self._known.anonymous | self._known.contents_of(positions))
        self._refer(expanded(bounds))  # to what is passed over too: nobody could tell that it was pruned
        return [kind, bounds]

    def _part(self, key: str, value: Any) -> Node:
        """A field of a message that is a dict."""
        if key == "content" and (position := self._content(value, to_share=True)) is not None:
            return ["c", position]
        return self._plain(value)

    def _position(self, message: BaseMessage) -> int:
        (position,) = self._known.find_all([message])
        if position is None:
            position = self._find_or_add(message)
        self._refer([position])
        return position

    def _refer(self, positions: Sequence[int]) -> None:
        self.rows.positions.update(positions)
        self.rows.positions.update(self._known.contents_of(positions))

    def _find_or_add(self, message: BaseMessage) -> int:
        # A user's own kind may insist on having a content when it is read.
        content = self._content(message.content, to_share=not message.id) if type(message) in OWN_KINDS else None
        stored = message if content is None else message.model_copy(update={"content": ""})
        kind, data = self._serde.dumps_typed(stored)
        if not message.id:
            kind, data = ANONYMOUS, pack([content, kind, data])
        elif content is not None:
            kind, data = REFERRING, pack([content, kind, data])
        digest = None if message.id else blake2b(data, digest_size=16).digest()
        position = self._known.find_without_id(digest) if digest else None
        if position is None:
            position = self._known.add(message, digest, content)
            if kind == ANONYMOUS and len(data) <= ASIDE_BYTES:
                self._known.anonymous.add(position)
            self.rows.messages.append((position, None if kind == "msgpack" else kind, data))
        return position

    def _content(self, content: Any, *, to_share: bool) -> int | None:
        """Where a content is stored, now if it is `to_share` with what will come; None where it is not, or is small."""
        key = _comparable(content)
        if key is None:
            return None
        position = self._known.find_content(key)
        if position is None and to_share:
            position = self._known.add_content(key)
            kind, data = self._serde.dumps_typed(content)
            row = (position, PLAIN_CONTENT, data) if kind == "msgpack" else (position, CONTENT, pack([kind, data]))
            self.rows.messages.append(row)
        if position is not None:
            self.rows.positions.add(position)
        return position


def _is_message(value: Any) -> bool:
    """Whether a dict is what LangChain would make a message of."""
    return type(value) is dict and _has_plain_keys(value) and "content" in value and ("role" in value or "type" in value)


def _comparable(content: Any) -> str | bytes | None:
    """What a content is known by; None where sharing it is not worth a row."""
    if type(content) is str:
        return content if len(content) > INLINE_BYTES else None
    if type(content) is not list:
        return None
    try:
        key = pack(content)
    except (TypeError, ValueError):
        return None
    return key if len(key) > INLINE_BYTES else None


def _has_plain_keys(value: Mapping[Any, Any]) -> bool:
    return all(type(key) is str for key in value)


def _holds_messages(value: Mapping[Any, Any]) -> bool:
    """A dict with messages, or lists of them, directly in it; its keys must be what msgpack keeps."""
    firsts = (item[0] if type(item) is list and item else item for item in value.values())
    return _has_plain_keys(value) and any(isinstance(first, BaseMessage) for first in firsts)


def leaves(node: Node) -> Iterator[Node]:
    """A node's parts that hold no nodes themselves."""
    if node[0] in ("d", "l"):
        for item in node[1].values() if node[0] == "d" else node[1]:
            yield from leaves(item)
    else:
        yield node


@dataclass
class Wanted:
    """What must be fetched before nodes can be turned into values: positions as Postgres writes multiranges, and digests."""

    positions: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)

    def add(self, node: Node) -> None:
        """Add the digests a node refers to."""
        self.digests.update(leaf[1] for leaf in leaves(node) if leaf[0] == "b")


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
        self._plain = type(serde) is JsonPlusSerializer
        if known is not None:
            known.digests.update(fetched.blobs)
            known.anonymous.update(
                position for position, (kind, data) in fetched.messages.items() if kind == ANONYMOUS and len(data) <= ASIDE_BYTES
            )

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
            case "i":
                return [self._message(position) for position in expanded(node[1]) if self._kind(position) not in _PASSED]
            case "c":
                return self._shared_content(node[1])
            case "d":
                return {key: self.value(item) for key, item in node[1].items()}
            case "l":
                return [self.value(item) for item in node[1]]
        raise Incompatible(f"a checkpoint holds a value of kind {node[0]!r}", hint="a newer version of Freehold wrote it; use that one")

    def _message(self, position: int) -> BaseMessage:
        kind, data = self._there(self._fetched.messages, position, "message")
        content = None
        if kind in (REFERRING, ANONYMOUS):
            content, kind, data = unpack(data)
        message = (revived(data) if self._plain and kind == "msgpack" else None) or cast(BaseMessage, self._load(kind, data))
        if content is not None:
            message.__dict__["content"] = self._content(content)
        if self._known is not None and isinstance(message, BaseMessage):
            self._known.remember(message, position, content=content)
        return message

    def _shared_content(self, position: int) -> Any:
        """The content of a message that is a dict: the message made of it may be still to come."""
        content = self._content(position)
        if self._known is not None and (key := _comparable(content)) is not None:
            self._known.remember_content(key, position)
        return content

    def _content(self, position: int) -> Any:
        kind, data = self._there(self._fetched.messages, position, "content")
        if kind == PLAIN_CONTENT:
            return unpack(data) if self._plain and data[0] in _TEXTS else self._load("msgpack", data)
        return self._load(*unpack(data))

    def _kind(self, position: int) -> str:
        return self._there(self._fetched.messages, position, "message")[0]

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
