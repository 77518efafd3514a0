"""LangGraph's own suite for checkpointers, against ours on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

from langgraph.checkpoint.conformance import checkpointer_test, validate

from freehold.storage.checkpointer import PostgresSaver
from freehold.storage.pool import create_pool

CAPABILITIES = {"put", "put_writes", "get_tuple", "list", "delete_thread", "delete_for_runs", "copy_thread", "prune"}


async def test_every_capability_of_the_public_suite_passes(database_url: str) -> None:
    @checkpointer_test(name="PostgresSaver")
    async def saver() -> AsyncIterator[PostgresSaver]:
        async with create_pool(database_url, max_size=5) as pool:
            yield PostgresSaver(pool)

    report = await validate(saver)
    failures = {name: result.failures for name, result in report.results.items() if not result.passed}
    assert failures == {}
    assert {name for name, result in report.results.items() if result.detected} >= CAPABILITIES
