"""Identifiers: sortable for what is created often, derived for what must be the same everywhere."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from uuid import UUID, uuid5

#: Namespace of everything Freehold derives; itself uuid5(NAMESPACE_DNS, "freehold").
_NAMESPACE = UUID("a3b1f5a2-3a43-5c0e-9d2c-0f7b6a1d1c55")


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then random bits, so new rows land at the end of an index."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds << 80) | (0x7 << 76) | ((random >> 68 & 0xFFF) << 64) | (0b10 << 62) | (random & (1 << 62) - 1)
    return UUID(int=value)


@lru_cache(maxsize=1024)
def assistant_id(graph_id: str) -> UUID:
    """Id of the system assistant of a graph: the same in every process and after every restart."""
    return uuid5(_NAMESPACE, f"assistant:{graph_id}")


def plain_thread_id(organisation: str, owner: str, name: str) -> UUID:
    """Thread behind a plain-chat thread name such as `test-1`; two owners never share one."""
    return uuid5(_NAMESPACE, f"thread:{organisation}:{owner}:{name}")
