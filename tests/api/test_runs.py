"""Runs, driven by the official SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError
from langgraph_sdk.schema import RunCreateMetadata


async def new_thread(sdk: LangGraphClient) -> str:
    return str((await sdk.threads.create())["thread_id"])


async def until_status(sdk: LangGraphClient, thread_id: str, run_id: str, *statuses: str) -> dict[str, Any]:
    while True:
        run = await sdk.runs.get(thread_id, run_id)
        if run["status"] in statuses:
            return dict(run)
        await asyncio.sleep(0.02)


# -- wait and join -------------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs/wait", "the values the graph left, once it has ended")
async def test_wait_gives_the_values_the_graph_left(sdk: LangGraphClient) -> None:
    values = await sdk.runs.wait(await new_thread(sdk), "echo", input={"text": "hi"})
    assert values == {"text": "hi", "log": ["first:hi:plain", "second:hi"]}


async def test_wait_raises_what_the_graph_raised(sdk: LangGraphClient) -> None:
    with pytest.raises(Exception, match="ValueError: the graph failed on purpose"):
        await sdk.runs.wait(await new_thread(sdk), "fails", input={"text": "hi"})


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs/wait, of a run that fails", "`__error__` with the error and its message")
async def test_wait_gives_the_error_as_data_where_asked(sdk: LangGraphClient) -> None:
    values = await sdk.runs.wait(await new_thread(sdk), "fails", input={"text": "hi"}, raise_error=False)
    assert values == {"__error__": {"error": "ValueError", "message": "the graph failed on purpose"}}


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs/wait, of a run that pauses", "`__interrupt__` with what is asked")
async def test_wait_shows_the_interrupts_of_a_paused_run_and_a_command_resumes_it(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    paused = await sdk.runs.wait(thread_id, "asks", input={"text": "hi"})
    assert [interrupt["value"] for interrupt in paused["__interrupt__"]] == [{"question": "Which colour?"}]
    assert (await sdk.threads.get(thread_id))["status"] == "interrupted"
    resumed = await sdk.runs.wait(thread_id, "asks", command={"resume": "blue"})
    assert resumed["log"] == ["answer:blue"]
    assert (await sdk.threads.get(thread_id))["status"] == "idle"


async def test_an_interrupt_can_be_resumed_by_its_id(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    paused = await sdk.runs.wait(thread_id, "asks", input={"text": "hi"})
    resumed = await sdk.runs.wait(thread_id, "asks", command={"resume": {paused["__interrupt__"][0]["id"]: "red"}})
    assert resumed["log"] == ["answer:red"]


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs", "a run in the background")
@pytest.mark.compat("Runs", "GET /threads/{thread_id}/runs/{run_id}", "one run and its status")
async def test_create_runs_in_the_background_until_joined(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "later"})
    assert run["status"] == "pending"
    assert await sdk.runs.join(thread_id, run["run_id"]) == {"text": "later", "log": ["first:later:plain", "second:later"]}
    assert (await sdk.runs.get(thread_id, run["run_id"]))["status"] == "success"


@pytest.mark.compat("Runs", "GET /threads/{thread_id}/runs/{run_id}/join", "its result, also after it has ended")
async def test_a_run_that_ended_can_still_be_joined(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "x"})
    once = await sdk.runs.join(thread_id, run["run_id"])
    assert await sdk.runs.join(thread_id, run["run_id"]) == once


async def test_config_and_metadata_reach_the_graph_and_the_run(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(
        thread_id, "echo", input={"text": "x"}, config={"configurable": {"tone": "loud"}, "tags": ["t"]}, metadata={"case": 7}
    )
    assert run["metadata"]["case"] == 7
    assert run["kwargs"]["config"] == {"configurable": {"tone": "loud"}, "tags": ["t"]}  # type: ignore[typeddict-item]
    assert (await sdk.runs.join(thread_id, run["run_id"]))["log"][0] == "first:x:loud"


@pytest.mark.compat("Runs", "interrupt_before, interrupt_after", "the run pauses there; another one goes on")
async def test_runs_stop_before_and_after_the_nodes_named(sdk: LangGraphClient) -> None:
    for option in ({"interrupt_before": ["second"]}, {"interrupt_after": ["first"]}, {"interrupt_before": "second"}):
        thread_id = await new_thread(sdk)
        values = await sdk.runs.wait(thread_id, "echo", input={"text": "x"}, **option)  # type: ignore[arg-type]
        assert values["log"] == ["first:x:plain"]
        assert (await sdk.threads.get_state(thread_id))["next"] == ["second"]
        assert (await sdk.runs.wait(thread_id, "echo", input=None))["log"] == ["first:x:plain", "second:x"]


async def test_a_run_may_start_from_an_older_checkpoint(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "one"})
    before_second = next(state for state in await sdk.threads.get_history(thread_id) if state["next"] == ["second"])
    values = await sdk.runs.wait(thread_id, "echo", input=None, checkpoint_id=before_second["checkpoint"]["checkpoint_id"])
    assert values["log"] == ["first:one:plain", "second:one"]
    values = await sdk.runs.wait(thread_id, "echo", input=None, checkpoint=before_second["checkpoint"])
    assert values["log"] == ["first:one:plain", "second:one"]


@pytest.mark.compat("Runs", "after_seconds", "the run begins that much later and holds nobody up")
async def test_after_seconds_delays_the_start(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "x"}, after_seconds=3600)
    other = await sdk.runs.wait(await new_thread(sdk), "echo", input={"text": "y"})
    assert other["text"] == "y"
    assert (await sdk.runs.get(thread_id, run["run_id"]))["status"] == "pending"
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)


@pytest.mark.compat("Runs", "durability sync|async|exit", "exit keeps the last checkpoint only")
async def test_durability_exit_keeps_only_the_last_checkpoint(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"}, durability="exit")
    assert len(await sdk.threads.get_history(thread_id)) == 1


# -- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.compat(
    "Streams", "POST /threads/{thread_id}/runs/stream: values, updates", "metadata first, then what each mode asked for gives"
)
async def test_a_stream_begins_with_metadata_and_gives_the_modes_asked_for(sdk: LangGraphClient) -> None:
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "echo", input={"text": "hi"}, stream_mode=["updates", "values"])]
    assert parts[0].event == "metadata"
    assert parts[0].data["attempt"] == 1
    assert [part.data for part in parts if part.event == "updates"] == [
        {"first": {"log": ["first:hi:plain"]}},
        {"second": {"log": ["second:hi"]}},
    ]
    assert [part for part in parts if part.event == "values"][-1].data == {"text": "hi", "log": ["first:hi:plain", "second:hi"]}


@pytest.mark.compat("Streams", "Content-Location", "the run is named in the headers before its first event")
async def test_metadata_names_the_run_and_so_do_the_headers(sdk: LangGraphClient) -> None:
    told: list[RunCreateMetadata] = []
    thread_id = await new_thread(sdk)
    parts = [part async for part in sdk.runs.stream(thread_id, "echo", input={"text": "hi"}, on_run_created=told.append)]
    assert told == [{"run_id": parts[0].data["run_id"], "thread_id": thread_id}]


@pytest.mark.compat("Streams", "modes debug, tasks, checkpoints", "the steps in detail")
@pytest.mark.parametrize("mode", ["debug", "tasks", "checkpoints"])
async def test_a_stream_gives_the_steps_in_detail(sdk: LangGraphClient, mode: Any) -> None:
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "echo", input={"text": "hi"}, stream_mode=mode)]
    assert {part.event for part in parts} == {"metadata", mode}
    assert len(parts) >= 4


@pytest.mark.compat("Streams", "mode debug: checkpoint, parent_checkpoint", "the checkpoints of the history, as they are made")
async def test_debugging_names_the_checkpoints_of_the_history(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    parts = [part async for part in sdk.runs.stream(thread_id, "nested", input={"text": "hi"}, stream_mode="debug")]
    told = [part.data["payload"] for part in parts if part.event == "debug" and part.data["type"] == "checkpoint"]
    kept = await sdk.threads.get_history(thread_id, limit=10)
    keys = ("checkpoint", "parent_checkpoint", "next")
    assert [[item[key] for key in keys] for item in told] == [[state[key] for key in keys] for state in reversed(kept)]  # type: ignore[literal-required]
    inside = next(task for item in told for task in item["tasks"] if task["name"] == "inner")
    assert inside["checkpoint"] == {"thread_id": thread_id, "checkpoint_ns": f"inner:{inside['id']}"}


@pytest.mark.compat("Streams", "mode custom", "what nodes write, in order")
async def test_custom_events_come_in_order(sdk: LangGraphClient) -> None:
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "slow", input={"text": "30"}, stream_mode="custom")]
    assert [part.data["number"] for part in parts if part.event == "custom"] == list(range(30))


@pytest.mark.compat("Streams", "mode messages-tuple", "each token as a message chunk with its metadata")
async def test_tokens_come_as_message_and_metadata(sdk: LangGraphClient) -> None:
    question = {"messages": [{"role": "user", "content": "one two three"}]}
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "talker", input=question, stream_mode="messages-tuple")]
    tokens = [part.data for part in parts if part.event == "messages"]
    assert "".join(chunk["content"] for chunk, _ in tokens) == "one two three"
    assert {metadata["langgraph_node"] for _, metadata in tokens} == {"talk"}


@pytest.mark.compat("Streams", "mode messages", "messages grow by the pieces: metadata, partial, complete")
async def test_messages_accumulate_in_mode_messages(sdk: LangGraphClient) -> None:
    question = {"messages": [{"role": "user", "content": "one two"}]}
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "talker", input=question, stream_mode="messages")]
    assert "messages/metadata" in {part.event for part in parts}
    assert [part.data[0]["content"] for part in parts if part.event == "messages/partial"][-1] == "one two"


@pytest.mark.compat("Streams", "stream_subgraphs", "events of subgraphs carry their namespace")
async def test_subgraphs_stream_under_their_namespace(sdk: LangGraphClient) -> None:
    stream = sdk.runs.stream(await new_thread(sdk), "nested", input={"text": "x"}, stream_mode="updates", stream_subgraphs=True)
    names = [part.event for part in [part async for part in stream]]
    assert any(name.startswith("updates|inner:") for name in names)
    assert "updates" in names


@pytest.mark.compat("Streams", "a run that fails", "its stream ends with an error event")
async def test_a_failing_graph_ends_its_stream_with_an_error_event(sdk: LangGraphClient) -> None:
    parts = [part async for part in sdk.runs.stream(await new_thread(sdk), "fails", input={"text": "x"})]
    assert parts[-1].event == "error"
    assert parts[-1].data == {"error": "ValueError", "message": "the graph failed on purpose"}


@pytest.mark.compat("Streams", "GET /threads/{thread_id}/runs/{run_id}/stream: Last-Event-ID", "exactly what follows that event")
async def test_joining_behind_an_event_gives_exactly_what_follows(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "slow", input={"text": "60"}, stream_mode="custom", stream_resumable=True)
    seen = []
    async for part in sdk.runs.join_stream(thread_id, run["run_id"], last_event_id="-1"):
        seen.append(part)
        if len(seen) == 20:
            break
    rest = [part async for part in sdk.runs.join_stream(thread_id, run["run_id"], last_event_id=seen[-1].id)]
    numbers = [part.data["number"] for part in [*seen, *rest] if part.event == "custom"]
    assert numbers == list(range(60))
    assert "gap" not in {part.event for part in rest}


async def test_joining_a_finished_stream_replays_it_whole(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    first = [part async for part in sdk.runs.stream(thread_id, "echo", input={"text": "x"}, stream_mode="updates")]
    again = [part async for part in sdk.runs.join_stream(thread_id, first[0].data["run_id"])]
    assert again == first


async def test_a_joining_client_may_choose_modes(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "x"}, stream_mode=["values", "updates"])
    await sdk.runs.join(thread_id, run["run_id"])
    parts = [part async for part in sdk.runs.join_stream(thread_id, run["run_id"], stream_mode="updates")]
    assert {part.event for part in parts} == {"metadata", "updates"}


@pytest.mark.compat("Streams", "the wire", "CRLF, an id for each event, no caching, no buffering")
async def test_events_on_the_wire_are_crlf_with_an_id_each(http: httpx.AsyncClient, sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    response = await http.post(f"/threads/{thread_id}/runs/stream", json={"assistant_id": "echo", "input": {"text": "x"}})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["location"] == response.headers["content-location"] + "/stream"
    first = response.content.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line.split(b": ")[0] for line in first] == [b"event", b"data", b"id"]
    assert first[2] == b"id: 1-1"


# -- many runs on one thread ---------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "multitask_strategy enqueue", "runs of a thread one after the other (the default)")
async def test_enqueue_runs_one_after_the_other(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    first = await sdk.runs.create(thread_id, "slow", input={"text": "10"})
    second = await sdk.runs.create(thread_id, "echo", input={"text": "b"})
    values = await sdk.runs.join(thread_id, second["run_id"])
    assert (await sdk.runs.get(thread_id, first["run_id"]))["status"] == "success"
    assert values["log"] == ["counted", "first:b:plain", "second:b"]


@pytest.mark.compat("Runs", "multitask_strategy reject", "409 while a run is active")
async def test_reject_refuses_a_second_run(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    with pytest.raises(ConflictError, match="already running a task"):
        await sdk.runs.create(thread_id, "echo", input={"text": "b"}, multitask_strategy="reject")
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)


@pytest.mark.compat("Runs", "multitask_strategy interrupt", "the active run stops and is kept with its checkpoints")
async def test_interrupt_stops_the_active_run_and_keeps_it(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    first = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    await until_status(sdk, thread_id, first["run_id"], "running")
    await sdk.runs.wait(thread_id, "echo", input={"text": "b"}, multitask_strategy="interrupt")
    assert (await sdk.runs.get(thread_id, first["run_id"]))["status"] == "interrupted"


@pytest.mark.compat("Runs", "multitask_strategy rollback", "the active run is removed with its checkpoints")
async def test_rollback_removes_the_active_run(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    first = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    await until_status(sdk, thread_id, first["run_id"], "running")
    values = await sdk.runs.wait(thread_id, "echo", input={"text": "b"}, multitask_strategy="rollback")
    assert values["log"] == ["first:b:plain", "second:b"]
    with pytest.raises(NotFoundError):
        await sdk.runs.get(thread_id, first["run_id"])


async def test_a_missing_thread_is_made_where_asked(sdk: LangGraphClient) -> None:
    missing = "0199c0de-0000-7000-8000-000000000001"
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await sdk.runs.wait(missing, "echo", input={"text": "x"})
    values = await sdk.runs.wait(missing, "echo", input={"text": "x"}, if_not_exists="create")
    assert values["text"] == "x"
    assert (await sdk.threads.get(missing))["metadata"]["graph_id"] == "echo"


# -- list, get, delete, cancel -------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first_with_a_status_filter(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    for text in ("a", "b"):
        await sdk.runs.wait(thread_id, "echo", input={"text": text})
    await sdk.runs.wait(thread_id, "fails", input={"text": "c"}, raise_error=False)
    listed = await sdk.runs.list(thread_id)
    assert [run["kwargs"]["input"]["text"] for run in listed] == ["c", "b", "a"]  # type: ignore[typeddict-item]
    assert [run["status"] for run in await sdk.runs.list(thread_id, status="success", limit=1)] == ["success"]
    assert [set(run) for run in await sdk.runs.list(thread_id, select=["run_id", "status"])] == [{"run_id", "status"}] * 3


@pytest.mark.compat("Runs", "DELETE /threads/{thread_id}/runs/{run_id}", "forgets a run that has ended; 409 for an active one")
async def test_a_finished_run_can_be_deleted_and_an_active_one_cannot(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    with pytest.raises(ConflictError, match=r"is (pending|running)"):
        await sdk.runs.delete(thread_id, run["run_id"])
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)
    await sdk.runs.delete(thread_id, run["run_id"])
    with pytest.raises(NotFoundError):
        await sdk.runs.get(thread_id, run["run_id"])


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs/{run_id}/cancel: wait", "the run stops, its checkpoints stay")
async def test_cancel_interrupts_a_run_and_keeps_what_it_did(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "waits", input={"text": "a"}, durability="sync")
    async for part in sdk.runs.join_stream(thread_id, run["run_id"]):
        if part.event == "values" and part.data.get("log"):
            break
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await sdk.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    state = await sdk.threads.get_state(thread_id)
    assert (state["values"]["log"], state["next"]) == (["first:a:plain"], ["wait"])  # type: ignore[call-overload]


@pytest.mark.compat("Runs", "POST /threads/{thread_id}/runs/{run_id}/cancel?action=rollback", "the run is removed with its checkpoints")
async def test_cancel_with_rollback_removes_the_run(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    await until_status(sdk, thread_id, run["run_id"], "running")
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    with pytest.raises(NotFoundError):
        await sdk.runs.get(thread_id, run["run_id"])
    assert (await sdk.threads.get_state(thread_id))["values"] == {}


async def test_cancelling_a_run_that_ended_is_a_conflict(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "a"})
    await sdk.runs.join(thread_id, run["run_id"])
    with pytest.raises(ConflictError, match="has ended already"):
        await sdk.runs.cancel(thread_id, run["run_id"])


async def test_a_run_cancelled_before_it_began_ends_for_those_who_wait(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input={"text": "a"}, after_seconds=3600)
    joining = asyncio.create_task(sdk.runs.join(thread_id, run["run_id"]))
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)
    assert await joining is None
    assert (await sdk.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"


@pytest.mark.compat("Runs", "on_disconnect cancel|continue", "a client that leaves stops its run, where it said so")
async def test_a_client_that_leaves_cancels_its_run_where_it_said_so(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    async for part in sdk.runs.stream(thread_id, "waits", input={"text": "a"}, on_disconnect="cancel"):
        run_id = part.data["run_id"]
        break
    assert (await until_status(sdk, thread_id, run_id, "interrupted"))["status"] == "interrupted"


async def test_a_client_that_leaves_otherwise_leaves_the_run_alone(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    async for part in sdk.runs.stream(thread_id, "slow", input={"text": "50"}):
        run_id = part.data["run_id"]
        break
    assert (await sdk.runs.join(thread_id, run_id))["log"] == ["counted"]


@pytest.mark.compat("Runs", "GET /threads/{thread_id}/runs/{run_id}/join: cancel_on_disconnect", "leaving stops the run")
async def test_a_joining_client_that_leaves_cancels_the_run_where_it_said_so(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "waits", input={"text": "a"})
    async for _ in sdk.runs.join_stream(thread_id, run["run_id"], cancel_on_disconnect=True):
        break
    await until_status(sdk, thread_id, run["run_id"], "interrupted")


# -- without a thread ----------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "POST /runs, POST /runs/wait, POST /runs/stream", "runs without a thread of the client's")
async def test_runs_without_a_thread_wait_stream_and_create(sdk: LangGraphClient) -> None:
    assert (await sdk.runs.wait(None, "echo", input={"text": "x"}))["text"] == "x"
    parts = [part async for part in sdk.runs.stream(None, "echo", input={"text": "x"}, stream_mode="updates")]
    assert [part.event for part in parts] == ["metadata", "updates", "updates"]
    run = await sdk.runs.create(None, "echo", input={"text": "x"}, on_completion="keep")
    assert (await sdk.runs.join(run["thread_id"], run["run_id"]))["text"] == "x"
