"""Server-sent events on the wire, as LangGraph's own servers write them: CRLF, `event`, `data`, `id`."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.core.event import Event

#: A comment: clients skip it, proxies see that the connection lives.
HEARTBEAT = b": heartbeat\r\n\r\n"


def frame(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One event; `data` is JSON on one line.

    >>> frame("values", b'{"n":1}', "1-4")
    b'event: values\\r\\ndata: {"n":1}\\r\\nid: 1-4\\r\\n\\r\\n'
    """
    head = b"event: %s\r\ndata: %s\r\n" % (name.encode(), data)
    return b"%sid: %s\r\n\r\n" % (head, event_id.encode()) if event_id else head + b"\r\n"


def frames(events: Iterable[Event]) -> bytes:
    """Several events as one piece, each with its id, so that a client that loses the connection goes on behind the last."""
    return b"".join([frame(event.name, event.data, str(event.id)) for event in events])
