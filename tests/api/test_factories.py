"""Graphs made by a function: called for each run and each read, told what for and for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

PROJECT = Path(__file__).parent / "factory_project" / "langgraph.json"


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(own_database_url, valkey.url, agents={"config": PROJECT, "shipped": False}) as address:
        yield address


@pytest.fixture(scope="module")
async def ann(url: str) -> AsyncIterator[LangGraphClient]:
    """A client whose user the project's own authentication knows."""
    async with get_client(url=url, api_key=None, headers={"x-name": "ann"}) as client:
        yield client


async def run(client: LangGraphClient, thread_id: str | None, **more: Any) -> dict[str, Any]:
    values = await client.runs.wait(thread_id, "made", input={}, **more)
    assert isinstance(values, dict)
    return values


@pytest.mark.compat("langgraph.json", "graph factories", "called for each run with config, context, store and the authenticated user")
async def test_a_factory_is_called_for_each_run_with_what_it_asks_for(ann: LangGraphClient) -> None:
    first = await run(ann, None, config={"configurable": {"tone": "kind"}}, context=None)
    second = await run(ann, None, context={"colour": "red"})
    assert first["made"] == {"tone": "kind", "colour": None, "team": "team of ann"}
    assert second["made"]["colour"] == "red"
    assert second["calls"][len(first["calls"]) :] == ["threads.create_run for ann"]
    assert (await ann.store.get_item(("seen",), "last"))["value"] == {"by": "ann"}


@pytest.mark.compat("langgraph.json", "graph factories: access context", "each read, update and look at the graph says what it is for")
async def test_a_factory_is_told_what_it_is_called_for(ann: LangGraphClient) -> None:
    thread = await ann.threads.create(graph_id="made")
    before = len((await run(ann, thread["thread_id"]))["calls"])
    await ann.threads.get_state(thread["thread_id"])
    await ann.threads.get_history(thread["thread_id"])
    await ann.threads.update_state(thread["thread_id"], {"made": {}}, as_node="tell")
    await ann.assistants.get_graph("made")
    await ann.assistants.get_schemas("made")
    called = (await run(ann, thread["thread_id"]))["calls"][before:]
    assert called[-1] == "threads.create_run for ann"
    assert called[:-1] == [
        "threads.read for ann",
        "threads.read for ann",
        "threads.update for ann",
        "assistants.read for ann",
        "assistants.read for ann",
    ]
