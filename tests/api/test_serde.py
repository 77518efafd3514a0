"""`checkpointer.serde` of langgraph.json: which types of the project's own come back from checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from langgraph_sdk import get_client
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

PROJECT = Path(__file__).parent / "serde_project" / "langgraph.json"


@pytest.mark.compat(
    "langgraph.json", "checkpointer.serde.allowed_msgpack_modules", "listed types are revived, others come back as plain values"
)
async def test_listed_types_are_revived_and_others_are_not(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents={"config": PROJECT, "shipped": False}) as url:
        async with get_client(url=url, api_key=None) as client:
            thread = (await client.threads.create())["thread_id"]
            await client.runs.wait(thread, "keep", input={})
            values = await client.runs.wait(thread, "keep", input={})
            state = await client.threads.get_state(thread)
    assert isinstance(values, dict)
    assert values["seen"] == ["other: dict", "plan: Plan"]
    assert state["values"]["kept"] == {"plan": {"steps": ["one"]}, "other": {"name": "x"}}  # type: ignore[index,call-overload]
