"""The bytes of server-sent events."""

from __future__ import annotations

from langgraph_sdk.sse import SSEDecoder

from freehold.core.event import Event, EventId
from freehold.server.sse import HEARTBEAT, frame, frames


def test_a_frame_has_event_data_and_id_with_crlf() -> None:
    assert frame("values", b'{"n":1}', "1-4") == b'event: values\r\ndata: {"n":1}\r\nid: 1-4\r\n\r\n'


def test_a_frame_without_an_id_has_no_id_line() -> None:
    assert frame("token", b"{}") == b"event: token\r\ndata: {}\r\n\r\n"


def test_the_official_decoder_reads_several_frames_and_skips_the_heartbeat() -> None:
    events = [Event(EventId(1, 1), "metadata", b'{"a":1}'), Event(EventId(1, 2), "values|inner:x", b"[2]")]
    decoder = SSEDecoder()
    decoded = [decoder.decode(line) for line in (HEARTBEAT + frames(events)).replace(b"\r\n", b"\n").split(b"\n")]
    parts = [part for part in decoded if part is not None and part.event]
    assert [(part.event, part.data, part.id) for part in parts] == [("metadata", {"a": 1}, "1-1"), ("values|inner:x", [2], "1-2")]
