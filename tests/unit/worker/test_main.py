"""What a worker remembers of its runs."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

from freehold.worker.main import Worker


async def test_a_run_that_failed_outside_its_graph_is_remembered_only_as_long_as_its_lease_may_last() -> None:
    worker = Worker(cast(Any, None), database_url="", concurrency=1, lease_seconds=0.01, max_attempts=3, drain_seconds=0)
    first, second = uuid4(), uuid4()
    worker._note_crashed(first)
    worker._note_crashed(second)
    assert set(worker._crashed) == {first, second}
    await asyncio.sleep(0.05)
    worker._note_crashed(third := uuid4())
    assert set(worker._crashed) == {third}
