"""Assistants, driven by the official SDK."""

from __future__ import annotations

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

GRAPHS = {"echo", "slow", "asks", "fails", "waits", "nested", "talker"}


async def test_every_graph_that_loads_has_an_assistant(sdk: LangGraphClient) -> None:
    found = await sdk.assistants.search(metadata={"created_by": "system"}, limit=100)
    assert {assistant["graph_id"] for assistant in found} == GRAPHS
    assert await sdk.assistants.count() == len(GRAPHS)


async def test_assistants_are_found_by_graph_and_name(sdk: LangGraphClient) -> None:
    (talker,) = await sdk.assistants.search(graph_id="talker")
    assert talker["description"] == "Repeats what it is told, token by token."
    assert [assistant["name"] for assistant in await sdk.assistants.search(name="TALK")] == ["talker"]


async def test_pages_tell_the_total_and_where_the_next_begins(http: httpx.AsyncClient, sdk: LangGraphClient) -> None:
    response = await http.post("/assistants/search", json={"limit": 3})
    assert (len(response.json()), response.headers["x-pagination-total"], response.headers["x-pagination-next"]) == (3, "7", "3")
    last = await http.post("/assistants/search", json={"limit": 3, "offset": 6})
    assert "x-pagination-next" not in last.headers
    page = await sdk.assistants.search(limit=3, response_format="object")
    assert page["next"] == "3"


async def test_an_assistant_is_known_by_its_id_and_by_its_graph(sdk: LangGraphClient) -> None:
    by_graph = await sdk.assistants.get("echo")
    assert await sdk.assistants.get(by_graph["assistant_id"]) == by_graph
    assert (await sdk.runs.wait(None, by_graph["assistant_id"], input={"text": "x"}))["text"] == "x"


async def test_schemas_tell_input_output_and_state(sdk: LangGraphClient) -> None:
    found = await sdk.assistants.get_schemas("echo")
    assert found["graph_id"] == "echo"
    assert set(found["state_schema"]["properties"]) == {"text", "log"}  # type: ignore[index]


async def test_the_graph_is_drawn_with_its_subgraphs_where_asked(sdk: LangGraphClient) -> None:
    plain = await sdk.assistants.get_graph("nested")
    opened = await sdk.assistants.get_graph("nested", xray=True)
    assert [node["id"] for node in plain["nodes"]] == ["__start__", "before", "inner", "after", "__end__"]
    assert "inner:deep" in [node["id"] for node in opened["nodes"]]


async def test_subgraphs_are_listed_by_namespace(sdk: LangGraphClient) -> None:
    assert set(await sdk.assistants.get_subgraphs("nested")) == {"inner"}


async def test_an_unknown_assistant_is_not_found_and_the_nearest_is_named(sdk: LangGraphClient) -> None:
    with pytest.raises(NotFoundError, match='no assistant "ecko"'):
        await sdk.assistants.get("ecko")
    with pytest.raises(NotFoundError):
        await sdk.assistants.get("0199c0de-0000-7000-8000-00000000dead")


async def test_a_broken_graph_is_one_clear_error_and_the_others_work(http: httpx.AsyncClient) -> None:
    response = await http.post("/runs/wait", json={"assistant_id": "broken", "input": {}})
    assert response.status_code == 500
    assert "there_is_no_such_graph" in response.json()["detail"]
    assert list((await http.get("/info")).json()["broken_graphs"]) == ["broken"]
