"""How much a thread takes in the checkpoint tables: bytes as stored, by what they are and by channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.storage import queries
from freehold.storage.checkpointer.codec import ANONYMOUS, REFERRING, leaves, unpack
from freehold.storage.checkpointer.messages import expanded
from freehold.storage.pool import Pool, act_as_process, as_caller

SQL = queries.load("thread_size")

#: Checkpoints that are read at a time.
PAGE = 500


@dataclass(frozen=True)
class Part:
    """Rows, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Channel:
    """How many different values of a channel are kept, and the bytes of what they are made of, each message counted once."""

    versions: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class ThreadSize:
    """`checkpoints` holds small values too; `values` are messages and large values, which are stored once for all checkpoints."""

    checkpoints: Part = Part()
    values: Part = Part()
    writes: Part = Part()
    channels: Mapping[str, Channel] = field(default_factory=dict)


async def size_of(pool: Pool, caller: Caller, thread_id: UUID) -> ThreadSize:
    """Raises NotFound where the caller has no such thread."""
    async with as_caller(pool, caller) as conn:
        arguments: dict[str, Any] = {"thread_id": thread_id, "thread": str(thread_id), "page": PAGE, **caller.arguments()}
        if await (await conn.execute(SQL["owned"], arguments)).fetchone() is None:
            raise NotFound(f"Thread with ID {thread_id} not found")
        await act_as_process(conn)
        totals = await (await conn.execute(SQL["totals"], arguments)).fetchone()
        stored = await (await conn.execute(SQL["messages"], {**arguments, "referring": [REFERRING, ANONYMOUS]})).fetchall()
        messages = {row["position"]: row["bytes"] for row in stored}
        contents = {row["position"]: unpack(row["referring"])[0] for row in stored if row["referring"]}
        blobs = {bytes(row["digest"]): row["bytes"] for row in await (await conn.execute(SQL["blobs"], arguments)).fetchall()}
        tally = _Tally(messages, contents, blobs)
        after: tuple[str, str] | None = ("", "")
        while after:
            rows = await (await conn.execute(SQL["states"], {**arguments, "ns": after[0], "id": after[1]})).fetchall()
            for row in rows:
                tally.add(unpack(row["state"])["values"])
            after = (rows[-1]["checkpoint_ns"], rows[-1]["checkpoint_id"]) if len(rows) == PAGE else None
    assert totals is not None
    return ThreadSize(
        checkpoints=Part(totals["checkpoints"], totals["checkpoint_bytes"]),
        values=Part(len(messages) + len(blobs), sum(messages.values()) + sum(blobs.values())),
        writes=Part(totals["writes"], totals["write_bytes"]),
        channels=tally.channels(),
    )


class _Tally:
    """What each channel's values are made of."""

    def __init__(self, messages: Mapping[int, int], contents: Mapping[int, int | None], blobs: Mapping[bytes, int]) -> None:
        self._messages, self._contents, self._blobs = messages, contents, blobs
        self._versions: defaultdict[str, set[str]] = defaultdict(set)
        self._inline: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        self._positions: defaultdict[str, set[int]] = defaultdict(set)
        self._digests: defaultdict[str, set[bytes]] = defaultdict(set)

    def add(self, values: Mapping[str, Any]) -> None:
        for channel, node in values.items():
            self._versions[channel].add(repr(node))
            for leaf in leaves(node):
                match leaf[0]:
                    case "v":
                        self._inline[channel][bytes(leaf[2])] = len(leaf[2])
                    case "b":
                        self._digests[channel].add(bytes(leaf[1]))
                    case "m" | "i":
                        self._positions[channel].update(expanded(leaf[1]))
                    case "o" | "c":
                        self._positions[channel].add(leaf[1])

    def channels(self) -> dict[str, Channel]:
        return {name: Channel(len(versions), self._bytes(name)) for name, versions in sorted(self._versions.items())}

    def _bytes(self, name: str) -> int:
        inline = sum(self._inline[name].values())
        positions = self._positions[name]
        referred = {content for position in positions if (content := self._contents.get(position)) is not None}
        messages = sum(self._messages.get(position, 0) for position in positions | referred)
        return inline + messages + sum(self._blobs.get(digest, 0) for digest in self._digests[name])
