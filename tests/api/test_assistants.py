"""Assistants, driven by the official SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, ConflictError, NotFoundError
from tests.api.serving import PROJECT

GRAPHS = set(json.loads(PROJECT.read_text())["graphs"]) - {"broken"}


async def told(sdk: LangGraphClient, assistant_id: str, **asked: Any) -> dict[str, Any]:
    """What a node of the graph `told` is told about a run of an assistant."""
    values = await sdk.runs.wait(None, assistant_id, input={"text": "x"}, **asked)
    return dict(json.loads(values["text"]))  # type: ignore[call-overload]


async def new(sdk: LangGraphClient, graph_id: str = "told", **settings: Any) -> dict[str, Any]:
    return dict(await sdk.assistants.create(graph_id, **settings))


def settings_of(assistant: Mapping[str, Any]) -> tuple[Any, Any]:
    return assistant["config"].get("configurable"), assistant["context"]


# -- those of the system -------------------------------------------------------------------------------------------


@pytest.mark.compat("Assistants", "POST /assistants/search", "every graph has an assistant of the system's, found by graph, name, metadata")
async def test_every_graph_that_loads_has_an_assistant(sdk: LangGraphClient) -> None:
    found = await sdk.assistants.search(metadata={"created_by": "system"}, limit=100)
    assert {assistant["graph_id"] for assistant in found} == GRAPHS


async def test_assistants_are_found_by_graph_and_name(sdk: LangGraphClient) -> None:
    (talker,) = await sdk.assistants.search(graph_id="talker")
    assert talker["description"] == "Repeats what it is told, token by token."
    assert [assistant["name"] for assistant in await sdk.assistants.search(name="TALK")] == ["talker"]


@pytest.mark.compat("Assistants", "POST /assistants/search: limit, offset", "pages tell the total and where the next one begins")
async def test_pages_tell_the_total_and_where_the_next_begins(http: httpx.AsyncClient, sdk: LangGraphClient) -> None:
    system, total = {"created_by": "system"}, str(len(GRAPHS))
    response = await http.post("/assistants/search", json={"limit": 3, "metadata": system})
    assert (len(response.json()), response.headers["x-pagination-total"], response.headers["x-pagination-next"]) == (3, total, "3")
    last = await http.post("/assistants/search", json={"limit": 3, "offset": len(GRAPHS) - 1, "metadata": system})
    assert "x-pagination-next" not in last.headers
    beyond = await http.post("/assistants/search", json={"limit": 3, "offset": 1000, "metadata": system})
    assert (beyond.json(), beyond.headers["x-pagination-total"]) == ([], total)
    assert (await sdk.assistants.search(limit=3, response_format="object"))["next"] == "3"


@pytest.mark.compat("Assistants", "GET /assistants/{id}", "an assistant is known by its id and by its graph's name")
async def test_an_assistant_is_known_by_its_id_and_by_its_graph(sdk: LangGraphClient) -> None:
    by_graph = await sdk.assistants.get("echo")
    assert await sdk.assistants.get(by_graph["assistant_id"]) == by_graph
    assert (await sdk.runs.wait(None, by_graph["assistant_id"], input={"text": "x"}))["text"] == "x"


@pytest.mark.compat("Assistants", "GET /assistants/{id}/schemas", "input, output, state, config and context as JSON schemas")
async def test_schemas_tell_input_output_and_state(sdk: LangGraphClient) -> None:
    found = await sdk.assistants.get_schemas("told")
    assert found["graph_id"] == "told"
    assert set(found["state_schema"]["properties"]) == set(found["input_schema"]["properties"]) == {"text", "log"}  # type: ignore[index]
    assert set(found["output_schema"]["properties"]) == {"text", "log"}  # type: ignore[index]
    assert set(found["context_schema"]["properties"]) == set(found["config_schema"]["properties"]) == {"tone", "model"}  # type: ignore[index]


@pytest.mark.compat("Assistants", "GET /assistants/{id}/graph: xray", "nodes and edges; with xray those of subgraphs")
async def test_the_graph_is_drawn_with_its_subgraphs_where_asked(sdk: LangGraphClient) -> None:
    plain = await sdk.assistants.get_graph("nested")
    opened = await sdk.assistants.get_graph("nested", xray=True)
    assert [node["id"] for node in plain["nodes"]] == ["__start__", "before", "inner", "after", "__end__"]
    assert "inner:deep" in [node["id"] for node in opened["nodes"]]


@pytest.mark.compat(
    "Assistants", "GET /assistants/{id}/subgraphs, GET /assistants/{id}/subgraphs/{namespace}: recurse", "schemas of subgraphs by namespace"
)
async def test_subgraphs_are_listed_by_namespace(sdk: LangGraphClient) -> None:
    assert set(await sdk.assistants.get_subgraphs("nested")) == {"inner"}
    assert set(await sdk.assistants.get_subgraphs("nested", namespace="inner", recurse=True)) == {"inner"}
    with pytest.raises(NotFoundError, match='no subgraph "nowhere"'):
        await sdk.assistants.get_subgraphs("nested", namespace="nowhere")


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


@pytest.mark.compat("Assistants", "changing or deleting an assistant of the system's", "403: everybody uses it", refused=True)
async def test_the_systems_assistants_cannot_be_changed_or_deleted(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    system = (await sdk.assistants.get("echo"))["assistant_id"]
    for attempt in (
        sdk.assistants.update(system, name="mine now"),
        sdk.assistants.delete(system),
        sdk.assistants.delete(system, delete_threads=True),
        sdk.assistants.set_latest(system, 1),
    ):
        with pytest.raises(APIStatusError) as refused:
            await attempt
        assert refused.value.response.status_code == 403
        assert "system" in refused.value.response.json()["detail"]
    assert (await sdk.assistants.get("echo"))["name"] == "echo"
    assert [version["version"] for version in await sdk.assistants.get_versions(system)] == [1]
    assert await sdk.assistants.get_versions(system, metadata={"created_by": "somebody"}) == []


# -- those of clients ----------------------------------------------------------------------------------------------


@pytest.mark.compat("Assistants", "POST /assistants", "a graph with config, context, metadata, name and description, which its runs get")
async def test_a_run_of_an_assistant_has_its_config_context_and_metadata(sdk: LangGraphClient) -> None:
    config = {"configurable": {"tone": "warm"}, "tags": ["from-assistant"], "recursion_limit": 7}
    made = await new(sdk, config=config, metadata={"team": "red"}, name="Warm", description="Is kind.")
    assert (made["name"], made["description"], made["version"], made["graph_id"]) == ("Warm", "Is kind.", 1, "told")
    seen = await told(sdk, made["assistant_id"], config={"tags": ["from-client"]}, metadata={"case": 7})
    assert (seen["configurable"]["tone"], seen["configurable"]["assistant_id"]) == ("warm", made["assistant_id"])
    assert seen["context"] == {"tone": "warm", "model": "small"}
    assert (seen["tags"], seen["recursion_limit"]) == (["from-assistant", "from-client"], 7)
    assert (seen["metadata"]["team"], seen["metadata"]["case"]) == ("red", 7)


@pytest.mark.compat("Assistants", "POST /assistants: config or context", "whichever is given is both; with both 400")
async def test_config_and_context_are_two_ways_to_say_the_same(sdk: LangGraphClient) -> None:
    by_config = await new(sdk, config={"configurable": {"tone": "a"}})
    by_context = await new(sdk, context={"tone": "a"})
    assert settings_of(by_config) == settings_of(by_context) == ({"tone": "a"}, {"tone": "a"})
    with pytest.raises(APIStatusError, match="both config") as refused:
        await new(sdk, config={"configurable": {"tone": "a"}}, context={"tone": "b"})
    assert refused.value.response.status_code == 400


@pytest.mark.compat("Assistants", "POST /assistants: assistant_id, if_exists", "an id that is taken: 409, or what is there")
async def test_an_id_that_is_taken_is_a_conflict_unless_nothing_is_to_be_done(sdk: LangGraphClient) -> None:
    wanted = str(uuid4())
    first = await new(sdk, assistant_id=wanted, name="first")
    assert first["assistant_id"] == wanted
    with pytest.raises(ConflictError):
        await new(sdk, assistant_id=wanted)
    again = await new(sdk, "echo", assistant_id=wanted, name="second", if_exists="do_nothing")
    assert again == first
    with pytest.raises(ConflictError):
        await new(sdk, assistant_id=(await sdk.assistants.get("echo"))["assistant_id"])


async def test_an_assistant_of_a_graph_nobody_serves_is_refused(sdk: LangGraphClient) -> None:
    with pytest.raises(NotFoundError, match='the graph "tolt" is not served here'):
        await new(sdk, "tolt")
    made = await new(sdk)
    with pytest.raises(NotFoundError):
        await sdk.assistants.update(made["assistant_id"], graph_id="tolt")


@pytest.mark.compat("Assistants", "PATCH /assistants/{id}", "a new version; metadata is merged, what is left out stays")
async def test_a_change_is_a_new_version_and_metadata_is_merged(sdk: LangGraphClient) -> None:
    made = await new(sdk, config={"configurable": {"tone": "a"}, "tags": ["t"]}, metadata={"x": 1, "y": 1}, name="n", description="d")
    changed = await sdk.assistants.update(made["assistant_id"], metadata={"y": 2, "z": 3})
    assert (changed["version"], changed["metadata"]) == (2, {"x": 1, "y": 2, "z": 3})
    assert (changed["config"], changed["name"], changed["description"]) == (made["config"], "n", "d")
    renamed = await sdk.assistants.update(made["assistant_id"], name="m", description="e", graph_id="echo")
    assert (renamed["version"], renamed["name"], renamed["description"], renamed["graph_id"]) == (3, "m", "e", "echo")
    by_context = await sdk.assistants.update(made["assistant_id"], context={"model": "big"})
    assert (settings_of(by_context), by_context["config"]["tags"]) == (({"model": "big"}, {"model": "big"}), ["t"])
    by_config = await sdk.assistants.update(made["assistant_id"], config={"configurable": {"tone": "b"}})
    assert (settings_of(by_config), by_config["config"]) == (({"tone": "b"}, {"tone": "b"}), {"configurable": {"tone": "b"}})
    assert by_config["updated_at"] > by_config["created_at"]


@pytest.mark.compat("Assistants", "POST /assistants/{id}/versions: metadata, limit, offset", "what an assistant was, newest first")
async def test_versions_are_listed_with_what_they_held(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    made = await new(sdk, context={"tone": "1"}, metadata={"round": 1})
    for number in (2, 3):
        await sdk.assistants.update(made["assistant_id"], context={"tone": str(number)}, metadata={"round": number})
    found = await sdk.assistants.get_versions(made["assistant_id"])
    assert [(version["version"], version["context"]) for version in found] == [(3, {"tone": "3"}), (2, {"tone": "2"}), (1, {"tone": "1"})]
    assert [one["version"] for one in await sdk.assistants.get_versions(made["assistant_id"], limit=1, offset=1)] == [2]
    assert [one["version"] for one in await sdk.assistants.get_versions(made["assistant_id"], metadata={"round": 1})] == [1]
    page = await http.post(f"/assistants/{made['assistant_id']}/versions", json={"limit": 2})
    assert (page.headers["x-pagination-total"], page.headers["x-pagination-next"]) == ("3", "2")


@pytest.mark.compat("Assistants", "POST /assistants/{id}/latest", "an earlier version is the current one again; changes go on counting")
async def test_an_earlier_version_can_be_made_the_current_one(sdk: LangGraphClient) -> None:
    made = await new(sdk, context={"tone": "one"}, metadata={"v": 1})
    await sdk.assistants.update(made["assistant_id"], context={"tone": "two"}, metadata={"v": 2})
    back = await sdk.assistants.set_latest(made["assistant_id"], 1)
    assert (back["version"], back["context"], back["metadata"]) == (1, {"tone": "one"}, {"v": 1})
    assert (await told(sdk, made["assistant_id"]))["context"]["tone"] == "one"
    assert (await sdk.assistants.update(made["assistant_id"], name="third"))["version"] == 3
    with pytest.raises(NotFoundError, match="Version 9 not found"):
        await sdk.assistants.set_latest(made["assistant_id"], 9)


async def test_changes_at_the_same_time_are_versions_one_after_the_other(sdk: LangGraphClient) -> None:
    made = await new(sdk)
    await asyncio.gather(*(sdk.assistants.update(made["assistant_id"], metadata={f"k{number}": number}) for number in range(8)))
    now = await sdk.assistants.get(made["assistant_id"])
    assert (now["version"], len(now["metadata"])) == (9, 8)  # type: ignore[arg-type]
    assert len(await sdk.assistants.get_versions(made["assistant_id"], limit=20)) == 9


@pytest.mark.compat("Assistants", "POST /assistants/search: sort_by, sort_order, select", "sorted, with the fields asked for")
async def test_a_search_sorts_and_selects(sdk: LangGraphClient) -> None:
    mark = {"mark": str(uuid4())}
    for name in ("b", "c", "a"):
        await new(sdk, name=name, metadata=mark)
    found = await sdk.assistants.search(metadata=mark, sort_by="name", sort_order="asc", select=["name", "version"])
    assert found == [{"name": name, "version": 1} for name in "abc"]
    found = await sdk.assistants.search(metadata=mark, sort_by="created_at", sort_order="desc", select=["name"])
    assert [one["name"] for one in found] == ["a", "c", "b"]
    with pytest.raises(APIStatusError) as refused:
        await sdk.assistants.search(select=["password"])  # type: ignore[list-item]
    assert refused.value.response.status_code == 422


@pytest.mark.compat("Assistants", "POST /assistants/count: metadata, graph_id, name", "a bare number")
async def test_assistants_are_counted(sdk: LangGraphClient) -> None:
    mark = {"mark": str(uuid4())}
    await new(sdk, metadata=mark, name="50%_off")
    await new(sdk, "echo", metadata=mark, name="other")
    assert await sdk.assistants.count(metadata=mark) == 2
    assert await sdk.assistants.count(metadata=mark, graph_id="echo") == 1
    assert await sdk.assistants.count(metadata=mark, name="%_") == 1


@pytest.mark.compat("Assistants", "DELETE /assistants/{id}: delete_threads", "with its versions, and the threads that ran it if asked")
async def test_an_assistant_is_deleted_with_its_versions_and_its_threads_where_asked(sdk: LangGraphClient) -> None:
    kept, dropped = await new(sdk), await new(sdk)
    threads = {}
    for assistant in (kept, dropped):
        threads[assistant["assistant_id"]] = (await sdk.threads.create())["thread_id"]
        await sdk.runs.wait(threads[assistant["assistant_id"]], assistant["assistant_id"], input={"text": "x"})
    await sdk.assistants.delete(dropped["assistant_id"], delete_threads=True)
    await sdk.assistants.delete(kept["assistant_id"])
    for assistant in (kept, dropped):
        with pytest.raises(NotFoundError):
            await sdk.assistants.get(assistant["assistant_id"])
        with pytest.raises(NotFoundError):
            await sdk.assistants.get_versions(assistant["assistant_id"])
        with pytest.raises(NotFoundError):
            await sdk.runs.create(None, assistant["assistant_id"], input={"text": "x"})
    assert (await sdk.threads.get_state(threads[kept["assistant_id"]]))["values"]["text"]  # type: ignore[call-overload]
    with pytest.raises(NotFoundError):
        await sdk.threads.get(threads[dropped["assistant_id"]])


@pytest.mark.compat("Assistants", "a run keeps its version", "what is changed or deleted after it was accepted does not alter it")
async def test_a_run_executes_the_assistant_as_it_was_when_the_run_was_accepted(sdk: LangGraphClient) -> None:
    made = await new(sdk, context={"tone": "then"})
    thread_id = (await sdk.threads.create())["thread_id"]
    before = await sdk.runs.create(thread_id, "slow", input={"text": "60"})
    waiting = await sdk.runs.create(thread_id, made["assistant_id"], input={"text": "x"})
    await sdk.assistants.update(made["assistant_id"], context={"tone": "now"}, graph_id="echo")
    await sdk.assistants.delete(made["assistant_id"])
    assert (await sdk.runs.get(thread_id, before["run_id"]))["status"] in {"pending", "running"}
    seen = json.loads((await sdk.runs.join(thread_id, waiting["run_id"]))["text"])
    assert (seen["context"]["tone"], seen["configurable"]["graph_id"]) == ("then", "told")


@pytest.mark.compat("Assistants", "schemas, graph and subgraphs of an assistant", "a factory gets the assistant's own settings")
async def test_a_factory_makes_the_graph_the_assistant_asks_for(sdk: LangGraphClient) -> None:
    made = await new(sdk, "made", config={"configurable": {"nodes": ["one", "two"]}})
    drawn = await sdk.assistants.get_graph(made["assistant_id"])
    assert [node["id"] for node in drawn["nodes"]] == ["__start__", "one", "two", "__end__"]
    assert [node["id"] for node in (await sdk.assistants.get_graph("made"))["nodes"]] == ["__start__", "only", "__end__"]
    assert (await sdk.assistants.get_schemas(made["assistant_id"]))["graph_id"] == "made"
    assert len((await sdk.runs.wait(None, made["assistant_id"], input={"text": "x"}))["log"]) == 2
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, made["assistant_id"], input={"text": "x"}, interrupt_before=["two"])
    assert (await sdk.threads.get(thread_id))["config"] == {"configurable": {"nodes": ["one", "two"]}}  # type: ignore[typeddict-item]
    assert (await sdk.threads.get_state(thread_id))["next"] == ["two"]  # read with the graph that wrote it
