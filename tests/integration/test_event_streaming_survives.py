"""What event streaming survives: a worker killed in the middle of a run, while a client follows the thread."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.serving import serving
from tests.api.streams import Frame, new_thread_id, over, root, started, streamed
from tests.integration.test_crash import PROJECT, Stack
from tests.support.servers import ValkeyServer


@pytest.fixture
async def stack(database_url: str, valkey_url: str, tmp_path: Path) -> Any:
    async with Stack(database_url, valkey_url, tmp_path) as stack:
        yield stack


@pytest.mark.compat(
    "Event streaming", "a worker dies", "the run goes on elsewhere; running comes again with a higher attempt, seq goes on rising"
)
async def test_a_client_follows_a_run_whose_worker_is_killed(stack: Stack, valkey: ValkeyServer) -> None:
    thread_id = new_thread_id()
    first = await stack.start_worker()
    with serving(stack.database_url, valkey.url, worker=False, agents={"config": PROJECT, "shipped": False}) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            await started(http, thread_id, "steps", {"steps": [], "seconds": 1.5, "trace": str(stack.trace)})
            path, body = f"/threads/{thread_id}/stream/events", {"channels": ["values", "lifecycle", "updates"]}
            async with streamed(http, "POST", path, json=body) as reader:
                await stack.until_marked("slow")
                await asyncio.sleep(0.3)  # the step before is stored, as in test_crash
                first.kill()
                await stack.start_worker()
                frames = await reader.until(over)
            cut = next(number for number, frame in enumerate(frames) if frame.data["params"]["data"].get("attempt") == 2)
            again = []
            async with streamed(http, "POST", path, json={**body, "since": frames[cut - 1].data["seq"]}) as reader:
                again = await reader.until(over)
    attempts = [frame.data["params"]["data"]["attempt"] for frame in frames if root(frame, "running")]
    numbers = [frame.data["seq"] for frame in frames]
    assert attempts == [1, 2]
    assert numbers == sorted(set(numbers))
    assert _values(frames)[-1]["steps"] == ["first", "slow", "last"]
    assert [frame.data for frame in again] == [frame.data for frame in frames[cut:]]
    assert json.dumps(_values(again)[-1]) == json.dumps(_values(frames)[-1])


def _values(frames: list[Frame]) -> list[Any]:
    return [frame.data["params"]["data"] for frame in frames if frame.event == "values"]
