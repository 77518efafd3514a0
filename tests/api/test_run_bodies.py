"""What a client may say about a run, field by field: each has an effect, or is refused by name."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, NotFoundError

TELL = {"text": "x"}


async def new_thread(sdk: LangGraphClient) -> str:
    return str((await sdk.threads.create())["thread_id"])


async def told(sdk: LangGraphClient, thread_id: str | None = None, **asked: Any) -> dict[str, Any]:
    """What a node is told about its run."""
    values = await sdk.runs.wait(thread_id, "told", input=TELL, **asked)  # type: ignore[call-overload]
    return dict(json.loads(values["text"]))


async def refused(attempt: Any) -> tuple[int, str]:
    with pytest.raises((APIStatusError, httpx.HTTPStatusError)) as caught:
        await attempt
    return caught.value.response.status_code, caught.value.response.json()["detail"]


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "config: configurable, tags, recursion_limit, metadata", "reach the nodes")
async def test_config_reaches_the_nodes(sdk: LangGraphClient) -> None:
    config = {"configurable": {"tone": "loud"}, "tags": ["t"], "recursion_limit": 9, "metadata": {"from": "config"}}
    seen = await told(sdk, config=config, metadata={"case": 7})
    assert (seen["configurable"]["tone"], seen["tags"], seen["recursion_limit"]) == ("loud", ["t"], 9)
    assert (seen["metadata"]["from"], seen["metadata"]["case"]) == ("config", 7)


@pytest.mark.compat("Runs", "config.recursion_limit", "a run that takes more steps fails")
async def test_a_run_beyond_its_recursion_limit_fails(sdk: LangGraphClient) -> None:
    values = await sdk.runs.wait(None, "echo", input=TELL, config={"recursion_limit": 1}, raise_error=False)
    assert values["__error__"]["error"] == "GraphRecursionError"  # type: ignore[call-overload]


@pytest.mark.compat("Runs", "context", "reaches the nodes' runtime, and graphs that read configurable")
async def test_context_reaches_the_runtime_and_configurable(sdk: LangGraphClient) -> None:
    seen = await told(sdk, context={"tone": "calm", "unknown": 1})
    assert (seen["context"], seen["configurable"]["tone"]) == ({"tone": "calm", "model": "small"}, "calm")
    seen = await told(sdk, config={"configurable": {"model": "big", "unknown": 1}})
    assert (seen["context"], seen["configurable"]["unknown"]) == ({"tone": "plain", "model": "big"}, 1)


@pytest.mark.compat("Runs", "config.configurable and context at once", "400: they are two ways to say the same", refused=True)
async def test_configurable_and_context_at_once_are_refused(sdk: LangGraphClient) -> None:
    attempt = sdk.runs.create(None, "told", input=TELL, config={"configurable": {"tone": "a"}}, context={"tone": "b"})
    assert await refused(attempt) == (400, "both config.configurable and context are given")
    seen = await told(sdk, config={"configurable": {"thread_id": str(uuid4())}}, context={"tone": "b"})
    assert seen["context"]["tone"] == "b"  # an address is no setting


@pytest.mark.compat("Runs", "configurable seen by nodes", "thread, run, graph, assistant, user, permissions and request of the run")
async def test_nodes_know_where_and_for_whom_they_run(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    thread_id = await new_thread(sdk)
    body = {"assistant_id": "told", "input": TELL, "metadata": {"m": 1}}
    response = await http.post(f"/threads/{thread_id}/runs/wait", json=body, headers={"x-request-id": "asked-for-by-a-test"})
    seen = json.loads(response.json()["text"])
    (run,) = await sdk.runs.list(thread_id)
    ids = {"thread_id": thread_id, "run_id": run["run_id"], "graph_id": "told", "assistant_id": run["assistant_id"]}
    whom = {"user_id": "local", "langgraph_auth_user_id": "local", "langgraph_auth_permissions": []}
    expected = {**ids, **whom, "langgraph_request_id": "asked-for-by-a-test"}
    assert {key: seen["configurable"].get(key) for key in expected} == expected
    assert seen["configurable"]["langgraph_auth_user"]["identity"] == "local"
    assert {key: seen["metadata"].get(key) for key in ids} == ids
    assert (seen["metadata"]["langgraph_node"], seen["metadata"]["langgraph_step"]) == ("tell", 1)


# -- threads and checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "if_not_exists create|reject", "a missing thread is made, or 404 (the default)")
async def test_a_missing_thread_is_made_only_where_that_is_asked_for(sdk: LangGraphClient) -> None:
    thread_id = str(uuid4())
    for options in ({}, {"if_not_exists": "reject"}):
        with pytest.raises(NotFoundError):
            await sdk.runs.create(thread_id, "echo", input=TELL, **options)  # type: ignore[call-overload]
    assert (await sdk.runs.wait(thread_id, "echo", input=TELL, if_not_exists="create"))["log"]  # type: ignore[call-overload]
    assert (await sdk.threads.get(thread_id))["status"] == "idle"


@pytest.mark.compat("Runs", "checkpoint, checkpoint_id", "the run goes on from there; the newer states stay in the history")
@pytest.mark.parametrize("form", ["checkpoint", "checkpoint_id"])
async def test_a_run_goes_on_from_an_older_checkpoint(sdk: LangGraphClient, form: str) -> None:
    thread_id = await new_thread(sdk)
    for text in ("one", "two"):
        await sdk.runs.wait(thread_id, "echo", input={"text": text})
    first_end = next(state for state in await sdk.threads.get_history(thread_id) if len(state["values"]["log"]) == 2)  # type: ignore[call-overload]
    address = first_end["checkpoint"] if form == "checkpoint" else first_end["checkpoint"]["checkpoint_id"]
    values = await sdk.runs.wait(thread_id, "echo", input={"text": "three"}, **{form: address})  # type: ignore[call-overload]
    assert values["log"] == ["first:one:plain", "second:one", "first:three:plain", "second:three"]
    texts = {state["values"].get("text") for state in await sdk.threads.get_history(thread_id, limit=50)}  # type: ignore[union-attr]
    assert {"one", "two", "three"} <= texts


@pytest.mark.compat("Runs", "command: resume", "answers an interrupt, by its id too")
@pytest.mark.compat("Runs", "command: update", "changes the state before the graph goes on")
async def test_a_command_resumes_and_updates(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    paused = await sdk.runs.wait(thread_id, "asks", input=TELL)
    named = {paused["__interrupt__"][0]["id"]: "blue"}  # type: ignore[call-overload]
    values = await sdk.runs.wait(thread_id, "asks", command={"resume": named, "update": {"text": "changed"}})
    assert (values["log"], values["text"]) == (["answer:blue"], "changed")  # type: ignore[call-overload]


@pytest.mark.compat("Runs", "command: update as a list of pairs", "changes the state like an object does")
async def test_a_command_updates_by_pairs(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input=TELL)
    values = await sdk.runs.wait(thread_id, "echo", command={"update": [["text", "one"], ["log", ["two"]]]})  # type: ignore[typeddict-item]
    assert (values["text"], values["log"][-1]) == ("one", "two")  # type: ignore[call-overload]


@pytest.mark.compat("Runs", "command: goto", "a node, or a node with input of its own")
async def test_a_command_goes_to_nodes(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"})
    values = await sdk.runs.wait(thread_id, "echo", command={"goto": "second"})
    assert values["log"][2:] == ["second:x"]  # type: ignore[call-overload]
    values = await sdk.runs.wait(thread_id, "echo", command={"goto": {"node": "second", "input": {"text": "sent"}}})
    assert values["log"][3:] == ["second:sent"]  # type: ignore[call-overload]


@pytest.mark.compat("Runs", "strict_resume", "an answer to no question that waits fails the run; the thread stays as it was")
@pytest.mark.parametrize(("answer", "why"), [({"a" * 32: "blue"}, "Unknown or already-consumed"), ({}, "names no interrupt")])
async def test_a_strict_resume_answers_only_what_was_asked(sdk: LangGraphClient, answer: dict[str, str], why: str) -> None:
    thread_id = await new_thread(sdk)
    paused = await sdk.runs.wait(thread_id, "asks", input=TELL)
    before, state = await sdk.threads.get(thread_id), await sdk.threads.get_state(thread_id)
    ignored = await sdk.runs.wait(thread_id, "asks", command={"resume": {"a" * 32: "blue"}})
    assert ignored["__interrupt__"] == paused["__interrupt__"]  # type: ignore[call-overload]
    failed = await sdk.runs.wait(thread_id, "asks", command={"resume": answer}, strict_resume=True, raise_error=False)
    assert failed["__error__"]["error"] == "UnknownInterruptError"  # type: ignore[call-overload]
    assert why in failed["__error__"]["message"]  # type: ignore[call-overload]
    assert (await sdk.runs.list(thread_id))[0]["status"] == "error"
    after = dict(await sdk.threads.get(thread_id))
    kept = ("status", "values", "interrupts", "error")
    assert [after.get(key) for key in kept] == [dict(before).get(key) for key in kept]
    assert (await sdk.threads.get_state(thread_id))["tasks"] == state["tasks"]
    values = await sdk.runs.wait(
        thread_id,
        "asks",
        command={"resume": {paused["__interrupt__"][0]["id"]: "red"}},
        strict_resume=True,  # type: ignore[call-overload]
    )
    assert values["log"] == ["answer:red"]  # type: ignore[call-overload]


async def test_info_says_that_a_strict_resume_is_honoured(http: httpx.AsyncClient) -> None:
    assert (await http.get("/info")).json()["flags"]["strict_resume"] is True


async def test_a_run_of_an_older_version_is_executed_although_it_names_no_graph(sdk: LangGraphClient, api_database_url: str) -> None:
    thread_id = await new_thread(sdk)
    run = await sdk.runs.create(thread_id, "echo", input=TELL, after_seconds=3600)
    async with await psycopg.AsyncConnection.connect(api_database_url, autocommit=True) as conn:
        await conn.execute(
            "UPDATE freehold.runs SET request = request - 'graph_id', available_at = now() WHERE run_id = %s", (run["run_id"],)
        )
    assert (await sdk.runs.join(thread_id, run["run_id"]))["log"] == ["first:x:plain", "second:x"]


# -- without a thread ----------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "interrupt_before, interrupt_after", 'stop before or after the nodes named, "*" for all')
@pytest.mark.parametrize("option", [{"interrupt_before": ["second"]}, {"interrupt_after": ["first"]}, {"interrupt_after": "*"}])
async def test_a_run_without_a_thread_stops_at_the_nodes_named(sdk: LangGraphClient, option: dict[str, Any]) -> None:
    values = await sdk.runs.wait(None, "echo", input=TELL, **option)  # type: ignore[call-overload]
    assert values["log"] == ["first:x:plain"]


@pytest.mark.compat("Runs", "on_completion keep", "its thread stays, can be read and run again")
async def test_the_thread_of_a_run_stays_where_that_is_asked_for(sdk: LangGraphClient) -> None:
    run = await sdk.runs.create(None, "echo", input=TELL, on_completion="keep", interrupt_before=["second"])
    await sdk.runs.join(run["thread_id"], run["run_id"])
    assert [thread["thread_id"] for thread in await sdk.threads.search(ids=[run["thread_id"]])] == [run["thread_id"]]
    assert (await sdk.runs.wait(run["thread_id"], "echo", input=None))["log"] == ["first:x:plain", "second:x"]  # type: ignore[call-overload]


async def test_what_needs_a_thread_is_refused_without_one(http: httpx.AsyncClient) -> None:
    checkpoint, resume = {"checkpoint": {"checkpoint_id": "x"}}, {"command": {"resume": 1}, "input": None}
    for extra, word in (({"thread_id": str(uuid4())}, "thread_id"), (checkpoint, "checkpoint"), (resume, "nothing to resume")):
        response = await http.post("/runs", json={"assistant_id": "echo", "input": TELL, **extra})
        assert (response.status_code, word in response.json()["detail"]) == (422, True)


# -- refused by name -----------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "feedback_keys", "its answer would be links into LangSmith", refused=True)
@pytest.mark.compat("Runs", "langsmith_tracing", "nothing is sent to LangSmith", refused=True)
@pytest.mark.parametrize("extra", [{"feedback_keys": ["score"]}, {"langsmith_tracing": {"project_name": "x"}}])
async def test_what_only_langsmith_could_honour_is_refused(http: httpx.AsyncClient, extra: dict[str, Any]) -> None:
    response = await http.post("/runs", json={"assistant_id": "echo", "input": TELL, **extra})
    assert response.status_code == 422
    assert f'"{next(iter(extra))}" is not supported' in response.json()["detail"]
    assert response.json()["hint"]


# -- reading runs --------------------------------------------------------------------------------------------------


@pytest.mark.compat("Runs", "GET /threads/{id}/runs: limit, offset, status, select", "newest first, with totals and the fields asked for")
async def test_runs_are_listed_in_pages_with_what_was_selected(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    thread_id = await new_thread(sdk)
    made = [(await sdk.runs.create(thread_id, "echo", input={"text": str(number)}))["run_id"] for number in range(3)]
    await sdk.runs.join(thread_id, made[-1])
    page = await http.get(f"/threads/{thread_id}/runs", params={"limit": 2, "select": ["run_id", "status"]})
    assert page.json() == [{"run_id": run_id, "status": "success"} for run_id in reversed(made[1:])]
    assert (page.headers["x-pagination-total"], page.headers["x-pagination-next"]) == ("3", "2")
    beyond = await http.get(f"/threads/{thread_id}/runs", params={"offset": 9})
    assert (beyond.json(), beyond.headers["x-pagination-total"]) == ([], "3")
    assert await sdk.runs.list(thread_id, status="error") == []
    one = await http.get(f"/threads/{thread_id}/runs/{made[0]}", params={"select": "kwargs"})
    assert list(one.json()) == ["kwargs"]
    assert (await http.get(f"/threads/{thread_id}/runs", params={"select": "password"})).status_code == 422
