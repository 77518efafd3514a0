"""People in the loop: questions of all threads in one place, answered one or many, checked, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.api.people import somebody
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.inbox import Inbox
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Runs

PROJECT = Path(__file__).parent / "inbox_project" / "langgraph.json"


@pytest.fixture(scope="module")
def api_database_url(own_database_url: str) -> str:
    """A database of its own."""
    return own_database_url


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(api_database_url, valkey.url, server={"auth": "keys"}, agents={"config": PROJECT, "shipped": False}) as address:
        yield address


@pytest.fixture
async def ada(url: str, api_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with somebody(url, api_database_url, f"ada-{uuid4()}") as client:
        yield client


@pytest.fixture(scope="module")
async def pool(api_database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(api_database_url, max_size=2) as pool:
        yield pool


async def asked(client: httpx.AsyncClient, text: str, **run: Any) -> str:
    """A thread that asks what `text` says."""
    thread_id = (await client.post("/threads", json={"metadata": {"about": text}})).json()["thread_id"]
    body = {"assistant_id": "people", "input": {"text": text}, **run}
    assert (await client.post(f"/threads/{thread_id}/runs/wait", json=body)).status_code == 200
    return str(thread_id)


async def waiting(client: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    response = await client.post("/inbox/search", json=wanted)
    assert response.status_code == 200, response.text
    return list(response.json())


async def respond(client: httpx.AsyncClient, *answers: tuple[dict[str, Any], Any]) -> httpx.Response:
    items = [{"thread_id": q["thread_id"], "interrupt_id": q["interrupt_id"], "response": answer} for q, answer in answers]
    return await client.post("/inbox/respond", json={"responses": items})


async def log_of(client: httpx.AsyncClient, response: httpx.Response) -> list[list[str]]:
    """What the answered threads hold once their runs have ended."""
    assert response.status_code == 200, response.text
    return [(await client.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join")).json()["log"] for run in response.json()["runs"]]


@pytest.mark.compat("Inbox", "POST /inbox/search", "interrupts of all the caller's threads, what waits longest first")
async def test_questions_of_all_threads_are_listed_what_waits_longest_first(ada: httpx.AsyncClient) -> None:
    first, second = await asked(ada, "one"), await asked(ada, "age")
    found = await waiting(ada)
    assert [question["thread_id"] for question in found] == [first, second]
    assert found[0]["value"] == {"question": "one"} and found[0]["response_schema"] is None
    assert found[1]["response_schema"] == {"type": "integer", "minimum": 0}
    assert (found[0]["graph_id"], found[0]["metadata"]["about"], found[0]["expires_at"]) == ("people", "one", None)
    (run,) = (await ada.get(f"/threads/{first}/runs")).json()
    assert found[0]["run_id"] == run["run_id"]
    assert [question["thread_id"] for question in await waiting(ada, sort_order="desc")] == [second, first]


@pytest.mark.compat("Inbox", "POST /inbox/search: filters", "by graph, thread, metadata and age, a page at a time")
async def test_questions_are_found_by_graph_thread_metadata_and_age(ada: httpx.AsyncClient) -> None:
    first, second = await asked(ada, "one"), await asked(ada, "two")
    moment = (await waiting(ada, thread_ids=[second]))[0]["created_at"]
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({"graph_id": "people"}, [first, second]),
        ({"graph_id": "echo"}, []),
        ({"thread_ids": [second]}, [second]),
        ({"metadata": {"about": "one"}}, [first]),
        ({"asked_before": moment}, [first]),
        ({"asked_after": "2100-01-01T00:00:00Z"}, []),
        ({"limit": 1}, [first]),
        ({"limit": 1, "offset": 1}, [second]),
    ]
    for wanted, threads in expected:
        assert [question["thread_id"] for question in await waiting(ada, **wanted)] == threads, wanted
    page = await ada.post("/inbox/search", json={"limit": 1})
    assert page.headers["x-pagination-next"] == "1"


@pytest.mark.compat("Inbox", "POST /inbox/respond", "one or many answers at once; each thread goes on with its own")
async def test_many_are_answered_at_once_and_each_thread_goes_on(ada: httpx.AsyncClient) -> None:
    await asked(ada, "one")
    await asked(ada, "age")
    one, age = await waiting(ada)
    response = await respond(ada, (one, "yes"), (age, 7))
    assert await log_of(ada, response) == [["one:yes"], ["age:7"]]
    assert await waiting(ada) == []


async def test_two_questions_of_a_thread_are_answered_in_one_run(ada: httpx.AsyncClient) -> None:
    await asked(ada, "left,right")
    questions = await waiting(ada)
    answers = [(question, question["value"]["question"].upper()) for question in questions]
    response = await respond(ada, *answers)
    assert await log_of(ada, response) == [["left:LEFT", "right:RIGHT"]]


async def test_a_question_that_was_not_answered_waits_on(ada: httpx.AsyncClient) -> None:
    await asked(ada, "left,right")
    questions = {question["value"]["question"]: question for question in await waiting(ada)}
    response = await respond(ada, (questions["left"], 1))
    run = response.json()["runs"][0]
    await ada.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join")
    (left,) = await waiting(ada)
    assert left["interrupt_id"] == questions["right"]["interrupt_id"]
    assert await log_of(ada, await respond(ada, (left, 2))) == [["left:1", "right:2"]]


@pytest.mark.compat("Inbox", "answers are checked", "an answer its schema does not take is 422 with what is wrong, and starts nothing")
@pytest.mark.parametrize(
    ("text", "wrong", "complaint", "right"),
    [
        ("age", "seven", "'seven' is not of type 'integer'", 7),
        ("age", -1, "-1 is less than the minimum of 0", 0),
        ("decide", {"decisions": [{"type": "edit"}]}, "'edit' is not one of ['approve', 'reject']", {"decisions": [{"type": "approve"}]}),
        ("decide", {"decisions": []}, "decisions", {"decisions": [{"type": "reject", "message": "no"}]}),
        ("inbox", [{"type": "response", "args": "x"}], "'response' is not one of ['accept']", [{"type": "accept", "args": None}]),
    ],
)
async def test_a_wrong_answer_starts_nothing_and_says_what_is_wrong(
    ada: httpx.AsyncClient, text: str, wrong: Any, complaint: str, right: Any
) -> None:
    await asked(ada, "one")
    await asked(ada, text)
    one, question = await waiting(ada)
    refused = await respond(ada, (one, "fine"), (question, wrong))
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("responses.1: ") and complaint in refused.json()["detail"]
    assert len(await waiting(ada)) == 2  # the other was not answered either
    assert (await respond(ada, (question, right))).status_code == 200


@pytest.mark.compat("Inbox", "answered only once", "a question that is answered already is 409")
async def test_what_is_answered_is_not_answered_again(ada: httpx.AsyncClient) -> None:
    await asked(ada, "one")
    (question,) = await waiting(ada)
    first, second = await asyncio.gather(respond(ada, (question, "a")), respond(ada, (question, "b")))
    assert sorted([first.status_code, second.status_code]) == [200, 409]
    won = first if first.status_code == 200 else second
    await log_of(ada, won)
    assert (await respond(ada, (question, "c"))).status_code == 409
    assert (await respond(ada, (question, "c"), (question, "d"))).status_code == 422


async def test_one_answer_needs_no_list(ada: httpx.AsyncClient) -> None:
    await asked(ada, "one")
    (question,) = await waiting(ada)
    answer = {"thread_id": question["thread_id"], "interrupt_id": question["interrupt_id"], "response": "yes"}
    assert await log_of(ada, await ada.post("/inbox/respond", json=answer)) == [["one:yes"]]


async def test_an_answer_is_run_with_what_the_run_that_asked_was_given(ada: httpx.AsyncClient) -> None:
    await asked(ada, "one", config={"tags": ["mine"]}, metadata={"source": "form"})
    (question,) = await waiting(ada)
    (run,) = (await respond(ada, (question, "x"))).json()["runs"]
    assert (run["kwargs"]["config"]["tags"], run["metadata"]) == (["mine"], {"source": "form"})


@pytest.mark.compat("Inbox", "strangers", "nobody sees or answers what is asked of others")
async def test_a_stranger_neither_sees_nor_answers(url: str, api_database_url: str, ada: httpx.AsyncClient) -> None:
    thread_id = await asked(ada, "one")
    (question,) = await waiting(ada)
    async with somebody(url, api_database_url, f"bob-{uuid4()}") as bob:
        for wanted in ({}, {"thread_ids": [thread_id]}, {"metadata": {"about": "one"}}, {"graph_id": "people"}):
            assert await waiting(bob, **wanted) == []
        await asked(bob, "own")
        (own,) = await waiting(bob)
        assert (await respond(bob, (question, "x"))).status_code == 404
        assert (await respond(bob, (own, "x"), (question, "x"))).status_code == 404
        assert await waiting(bob) == [own]
        steps = [{"updates": [{"values": {"text": "bob's"}, "as_node": "__input__"}]}]
        taken = {"thread_id": thread_id, "graph_id": "people", "supersteps": steps, "if_exists": "do_nothing"}
        assert (await bob.post("/threads", json=taken)).status_code == 409
        assert (await bob.patch(f"/threads/{thread_id}", json={"ttl": 1})).status_code == 404
        assert (await bob.post(f"/threads/{thread_id}/copy")).status_code == 404
        assert (await bob.get(f"/threads/{thread_id}/storage")).status_code == 404
        assert (await bob.post("/threads/prune", json={"thread_ids": [thread_id]})).json() == {"pruned_count": 0}
    assert await waiting(ada) == [question]


@pytest.mark.compat("Inbox", "expires_in with on_expiry", "the thread goes on with the answer the question names for that")
async def test_a_question_that_expires_is_answered_as_it_says(ada: httpx.AsyncClient, pool: Pool) -> None:
    thread_id = await asked(ada, "default")
    await Inbox(pool, Runs(pool)).expire()
    async with asyncio.timeout(30):
        while (thread := (await ada.get(f"/threads/{thread_id}")).json())["status"] != "idle":
            await asyncio.sleep(0.05)
    assert thread["values"]["log"] == ["default:nobody"]


@pytest.mark.compat("Inbox", "expires_in without on_expiry", "the thread becomes an error that says so; its question cannot be answered")
async def test_a_question_that_expires_without_an_answer_is_an_error(ada: httpx.AsyncClient, pool: Pool) -> None:
    thread_id = await asked(ada, "give up")
    (question,) = await waiting(ada) or [None]
    late = {"thread_id": thread_id, "interrupt_id": question["interrupt_id"] if question else "x", "response": "late"}
    assert (await ada.post("/inbox/respond", json=late)).status_code == 409
    await Inbox(pool, Runs(pool)).expire()
    thread = (await ada.get(f"/threads/{thread_id}")).json()
    assert (thread["status"], thread["error"]["error"]) == ("error", "InterruptExpired")
    assert await waiting(ada) == []


async def test_a_question_that_has_time_is_left_alone(ada: httpx.AsyncClient, pool: Pool) -> None:
    await asked(ada, "patient")
    await Inbox(pool, Runs(pool)).expire()
    (question,) = await waiting(ada)
    assert question["expires_at"] > question["created_at"]
    assert await log_of(ada, await respond(ada, (question, "me"))) == [["patient:me"]]


@pytest.mark.compat("Threads", "checkpointer.ttl of langgraph.json", "a thread that asks for no time to live gets the default")
async def test_threads_get_the_default_time_to_live_of_the_project(ada: httpx.AsyncClient) -> None:
    thread_id = (await ada.post("/threads", json={})).json()["thread_id"]
    ttl = (await ada.get(f"/threads/{thread_id}?include=ttl")).json()["ttl"]
    assert (ttl["strategy"], ttl["ttl_minutes"]) == ("keep_latest", 60)
    thread_id = (await ada.post("/threads", json={"ttl": 5})).json()["thread_id"]
    ttl = (await ada.get(f"/threads/{thread_id}?include=ttl")).json()["ttl"]
    assert (ttl["strategy"], ttl["ttl_minutes"]) == ("delete", 5)


@pytest.mark.compat("Threads", "checkpointer.ttl of langgraph.json, threads made by runs", "they get the default too")
async def test_threads_that_runs_make_get_the_default_time_to_live(ada: httpx.AsyncClient) -> None:
    made = str(uuid4())
    body = {"assistant_id": "people", "input": {"text": "one"}}
    await ada.post(f"/threads/{made}/runs/wait", json={**body, "if_not_exists": "create"})
    kept = (await ada.post("/runs", json={**body, "on_completion": "keep"})).json()["thread_id"]
    for thread_id in (made, kept):
        assert (await ada.get(f"/threads/{thread_id}?include=ttl")).json()["ttl"]["ttl_minutes"] == 60


async def test_a_copy_is_answered_with_the_settings_of_its_assistant(ada: httpx.AsyncClient) -> None:
    made = await ada.post("/assistants", json={"graph_id": "people", "config": {"tags": ["careful"]}})
    assistant_id = made.json()["assistant_id"]
    thread_id = await asked(ada, "one", assistant_id=assistant_id)
    copy = (await ada.post(f"/threads/{thread_id}/copy")).json()["thread_id"]
    (question,) = await waiting(ada, thread_ids=[copy])
    assert (question["run_id"], question["value"]) == (None, {"question": "one"})
    response = await respond(ada, (question, "copied"))
    (run,) = response.json()["runs"]
    assert (run["assistant_id"], run["kwargs"]["config"]["tags"]) == (assistant_id, ["careful"])
    assert await log_of(ada, response) == [["one:copied"]]
    assert [item["thread_id"] for item in await waiting(ada)] == [thread_id]


@pytest.mark.compat("Inbox", "human-in-the-loop middleware", "a tool call is approved, edited or rejected as its policy allows")
@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ({"type": "approve"}, "Done: sent to ada"),
        ({"type": "edit", "edited_action": {"name": "send_mail", "args": {"to": "bob"}}}, "sent to bob"),
        ({"type": "reject", "message": "not today"}, "not today"),
    ],
)
async def test_a_tool_call_waits_for_a_decision(ada: httpx.AsyncClient, decision: dict[str, Any], said: str) -> None:
    thread_id = (await ada.post("/threads", json={})).json()["thread_id"]
    body = {"assistant_id": "secretary", "input": {"messages": [{"role": "user", "content": "write to ada"}]}}
    await ada.post(f"/threads/{thread_id}/runs/wait", json=body)
    (question,) = await waiting(ada, graph_id="secretary")
    assert question["value"]["action_requests"][0]["args"] == {"to": "ada"}
    assert (await respond(ada, (question, {"decisions": [{"type": "perhaps"}]}))).status_code == 422
    (run,) = (await respond(ada, (question, {"decisions": [decision]}))).json()["runs"]
    ended = (await ada.get(f"/threads/{thread_id}/runs/{run['run_id']}/join")).json()
    assert said in ended["messages"][-1]["content"]
