"""What the benchmark of open streams reads off the wire, and when it says that a server keeps up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from benchmarks.engine.streams import Arrived, Load, Outcome, _read, line

from freehold.core.event import Event, EventId
from freehold.server import sse

GOOD = Outcome(Load(1000, 1, 20), 0, 0, 2.0, 40.0, 90.0, 0.4, 0.1, 0.1, 0.3, 40.0, 12)


async def received(*seqs: int, last_chunk: bool = True) -> Arrived:
    """What is made of events with these numbers as our server frames them, in chunks that arrive in small pieces."""
    written = b'{"t":%d,"p":"xx"}' % time.monotonic_ns()
    frames = [sse.frames([Event(EventId(1, seq), "custom", written)]) for seq in seqs]
    body = b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames) + (b"0\r\n\r\n" if last_chunk else b"")
    reader, arrived = asyncio.StreamReader(), Arrived()
    reading = asyncio.create_task(_read(reader, arrived))
    for start in range(0, len(body), 7):
        reader.feed_data(body[start : start + 7])
        await asyncio.sleep(0)
    reader.feed_eof()
    await reading
    return arrived


async def test_events_are_read_off_the_servers_frames_with_their_delay() -> None:
    arrived = await received(1, 2, 3)
    assert (len(arrived.delays), arrived.disordered, arrived.ended) == (3, 0, True)
    assert all(0 <= delay < 60_000 for delay in arrived.delays)


async def test_a_hole_and_a_repetition_are_seen() -> None:
    assert (await received(1, 3)).disordered == 1
    assert (await received(1, 2, 2)).disordered == 1


async def test_a_stream_without_its_last_chunk_was_cut() -> None:
    assert not (await received(1, last_chunk=False)).ended


@pytest.mark.parametrize(("change", "sustained"), [({}, True), ({"dropped": 1}, False), ({"cut": 1}, False), ({"p99": 250.0}, False)])
def test_a_load_is_sustained_without_loss_and_under_the_limit(change: dict[str, float], sustained: bool) -> None:
    assert replace(GOOD, **change).sustained is sustained


def test_a_row_holds_its_figures() -> None:
    assert line(GOOD).split() == ["1000", "1", "0", "0", "2.0", "40.0", "90.0", "40%", "10%", "10%", "30%", "40", "12"]
