"""When a quiet connection needs a word."""

from __future__ import annotations

import asyncio

import pytest

from freehold.server.streaming import HEARTBEAT_SECONDS, Silence


async def test_silence_is_too_long_once_in_a_while_and_speaking_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now, raising=False)
    silence = Silence()
    now += HEARTBEAT_SECONDS - 1
    before, now = silence.too_long(), now + 1
    reached, again = silence.too_long(), silence.too_long()
    now += HEARTBEAT_SECONDS - 1
    silence.broken()
    now += 2
    after_speaking = silence.too_long()
    monkeypatch.undo()
    assert (before, reached, again, after_speaking) == (False, True, False, False)
