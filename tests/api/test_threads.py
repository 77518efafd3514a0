"""Threads and their state, driven by the official SDK."""

from __future__ import annotations

from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

MISSING = "0199c0de-0000-7000-8000-00000000dead"


@pytest.mark.compat("Threads", "POST /threads", "a thread with metadata")
@pytest.mark.compat("Threads", "GET, PATCH, DELETE /threads/{id}", "as it was made; metadata is merged; gone when deleted")
async def test_a_thread_is_created_read_changed_and_deleted(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(metadata={"colour": "green"})
    assert (thread["status"], thread["values"], thread["interrupts"]) == ("idle", None, {})
    assert await sdk.threads.get(thread["thread_id"]) == thread
    patched = await sdk.threads.update(thread["thread_id"], metadata={"size": 3})
    assert patched["metadata"] == {"colour": "green", "size": 3}
    await sdk.threads.delete(thread["thread_id"])
    with pytest.raises(NotFoundError):
        await sdk.threads.get(thread["thread_id"])


@pytest.mark.compat("Threads", "POST /threads: thread_id, if_exists", "a taken id is 409, or what is there")
async def test_a_taken_id_is_a_conflict_unless_that_is_fine(sdk: LangGraphClient) -> None:
    chosen = str(uuid4())
    created = await sdk.threads.create(thread_id=chosen)
    with pytest.raises(ConflictError, match="already exists"):
        await sdk.threads.create(thread_id=chosen)
    assert await sdk.threads.create(thread_id=chosen, if_exists="do_nothing") == created


@pytest.mark.compat("Threads", "POST /threads/search: metadata, values, status, ids, limit, offset, select", "finds them by each")
async def test_threads_are_found_by_metadata_values_status_and_ids(sdk: LangGraphClient) -> None:
    mark = str(uuid4())
    threads = [str((await sdk.threads.create(metadata={"mark": mark, "n": n}))["thread_id"]) for n in range(3)]
    await sdk.runs.wait(threads[0], "echo", input={"text": mark})
    await sdk.runs.wait(threads[1], "asks", input={"text": "x"})
    found = await sdk.threads.search(metadata={"mark": mark}, sort_by="created_at", sort_order="asc")
    assert [thread["thread_id"] for thread in found] == threads
    assert [t["thread_id"] for t in await sdk.threads.search(values={"text": mark})] == threads[:1]
    assert [t["thread_id"] for t in await sdk.threads.search(metadata={"mark": mark}, status="interrupted")] == threads[1:2]
    assert {t["thread_id"] for t in await sdk.threads.search(ids=threads[1:])} == set(threads[1:])
    page = await sdk.threads.search(
        metadata={"mark": mark}, limit=1, offset=1, sort_by="created_at", sort_order="asc", select=["thread_id"]
    )
    assert page == [{"thread_id": threads[1]}]
    assert await sdk.threads.count(metadata={"mark": mark}) == 3


@pytest.mark.compat("Thread state", "GET /threads/{id}/state", "values, what comes next, tasks and interrupts")
async def test_the_state_of_a_thread_tells_what_comes_next_and_why(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "asks", input={"text": "x"})
    state = await sdk.threads.get_state(thread_id)
    assert state["next"] == ["ask"]
    assert state["values"] == {"text": "x", "log": []}
    assert state["checkpoint"]["thread_id"] == thread_id
    (task,) = state["tasks"]
    assert (task["name"], task["error"], task["interrupts"]) == ("ask", None, state["interrupts"])
    assert state["interrupts"][0]["value"] == {"question": "Which colour?"}
    assert (await sdk.threads.get(thread_id))["interrupts"] == {task["id"]: state["interrupts"]}


@pytest.mark.compat("Thread state", "POST /threads/{id}/history: limit, before, metadata", "newest first, with parents")
@pytest.mark.compat(
    "Thread state",
    "GET /threads/{id}/state/{checkpoint_id}, POST /threads/{id}/state/checkpoint",
    "each state of the past can be read again",
)
async def test_history_is_newest_first_and_each_state_can_be_read_again(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"})
    history = await sdk.threads.get_history(thread_id)
    assert [state["next"] for state in history] == [[], ["second"], ["first"], ["__start__"]]
    older = history[1]
    assert older["parent_checkpoint"] == history[2]["checkpoint"]
    assert await sdk.threads.get_state(thread_id, checkpoint=older["checkpoint"]) == older
    assert await sdk.threads.get_state(thread_id, checkpoint_id=older["checkpoint"]["checkpoint_id"]) == older
    assert await sdk.threads.get_history(thread_id, before=older["checkpoint"], limit=1) == history[2:3]
    assert [s["metadata"]["step"] for s in await sdk.threads.get_history(thread_id, metadata={"step": 1})] == [1]  # type: ignore[index]


@pytest.mark.compat("Thread state", "GET /threads/{id}/history: limit", "the same with GET, ten at first")
async def test_history_may_be_read_with_get(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"})
    whole = await sdk.threads.get_history(thread_id, limit=10)
    assert await sdk.http.get(f"/threads/{thread_id}/history") == whole
    assert await sdk.http.get(f"/threads/{thread_id}/history?limit=2") == whole[:2]


@pytest.mark.compat("Thread state", "POST /threads/{id}/state: values, as_node", "the next run goes on from what was written")
async def test_a_state_update_is_what_the_next_run_sees(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create(graph_id="echo"))["thread_id"]
    made = await sdk.threads.update_state(thread_id, {"text": "by hand", "log": ["zero"]}, as_node="first")
    state = await sdk.threads.get_state(thread_id)
    assert state["checkpoint"] == made["checkpoint"]
    assert state["next"] == ["second"]
    assert (await sdk.threads.get(thread_id))["values"] == {"text": "by hand", "log": ["zero"]}
    assert (await sdk.runs.wait(thread_id, "echo", input=None))["log"] == ["zero", "second:by hand"]


@pytest.mark.compat("Thread state", "POST /threads/{id}/state on a busy thread", "409, and nothing is changed")
async def test_the_state_of_a_busy_thread_is_not_changed_by_hand(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    run = await sdk.runs.create(thread_id, "waits", input={"text": "x"})
    with pytest.raises(ConflictError, match="busy"):
        await sdk.threads.update_state(thread_id, {"text": "y"}, as_node="first")
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)


async def test_an_update_as_a_node_that_does_not_exist_is_refused(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create(graph_id="echo"))["thread_id"]
    with pytest.raises(UnprocessableEntityError, match="nobody"):
        await sdk.threads.update_state(thread_id, {"text": "y"}, as_node="nobody")


async def test_a_blank_thread_has_an_empty_state(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    state = await sdk.threads.get_state(thread_id)
    assert (state["values"], state["next"], state["tasks"]) == ({}, [], [])
    assert await sdk.threads.get_history(thread_id) == []
    with pytest.raises(UnprocessableEntityError, match="has no graph yet"):
        await sdk.threads.update_state(thread_id, {"text": "y"})


@pytest.mark.compat("Thread state", "GET /threads/{id}/state: subgraphs", "the state with those of its subgraphs")
async def test_the_state_of_a_subgraph_can_be_read(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "nested", input={"text": "x"}, interrupt_before=["after"])
    state = await sdk.threads.get_state(thread_id, subgraphs=True)
    assert state["next"] == ["after"]


@pytest.mark.parametrize("call", ["get", "delete", "get_state", "get_history", "update"])
async def test_a_missing_thread_is_not_found(sdk: LangGraphClient, call: str) -> None:
    arguments = {"metadata": {"a": 1}} if call == "update" else {}
    with pytest.raises(NotFoundError):
        await getattr(sdk.threads, call)(MISSING, **arguments)


@pytest.mark.compat("Threads", "DELETE /threads/{id}: what goes with it", "runs and checkpoints are gone too")
async def test_deleting_a_thread_removes_its_runs_and_checkpoints(sdk: LangGraphClient) -> None:
    thread_id = str(uuid4())
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"}, if_not_exists="create")
    await sdk.threads.delete(thread_id)
    await sdk.threads.create(thread_id=thread_id, graph_id="echo")
    assert await sdk.runs.list(thread_id) == []
    assert await sdk.threads.get_history(thread_id) == []
