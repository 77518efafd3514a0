"""Threads beyond the plain ones: a state to begin with, copies, pruning, a time to live, sizes, and what a search can take out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from freehold.storage.expiry import Expiry
from freehold.storage.pool import Pool, create_pool

MISSING = "0199c0de-0000-7000-8000-00000000dead"

STEPS = [
    {"updates": [{"values": {"text": "from elsewhere"}, "as_node": "__input__"}]},
    {"updates": [{"values": {"text": "from elsewhere"}, "as_node": "__start__"}]},
    {"updates": [{"values": {"log": ["one"]}, "as_node": "first"}]},
]


@pytest.fixture
async def pool(api_database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(api_database_url, max_size=1) as pool:
        yield pool


async def conversation(sdk: LangGraphClient, *said: str) -> str:
    """A thread on which `talker` answered so many times."""
    thread_id = str(uuid4())
    for text in said:
        await sdk.runs.wait(thread_id, "talker", input={"messages": [{"role": "user", "content": text}]}, if_not_exists="create")
    return thread_id


@pytest.mark.compat("Threads", "POST /threads: supersteps", "one checkpoint per superstep; the next run goes on from the last")
async def test_a_thread_begins_with_the_state_it_is_given_and_goes_on(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(supersteps=STEPS, graph_id="echo")
    assert (thread["values"], thread["status"]) == ({"text": "from elsewhere", "log": ["one"]}, "interrupted")
    history = await sdk.threads.get_history(thread["thread_id"])
    assert [state["next"] for state in history] == [["second"], ["first"], ["__start__"]]
    assert (await sdk.runs.wait(thread["thread_id"], "echo", input=None))["log"] == ["one", "second:from elsewhere"]


@pytest.mark.compat("Threads", "POST /threads: supersteps with a command", "a command updates the state and goes to the node it names")
async def test_a_superstep_may_be_a_command(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    step = {"updates": [{"command": {"update": {"text": "jumped"}, "goto": "second"}, "as_node": "first"}]}
    thread = (await http.post("/threads", json={"supersteps": [step], "graph_id": "echo"})).json()
    assert thread["values"] == {"text": "jumped", "log": []}
    assert (await sdk.threads.get_state(thread["thread_id"]))["next"] == ["second"]
    resume = {"updates": [{"command": {"resume": "x"}, "as_node": "first"}]}
    refused = await http.post("/threads", json={"supersteps": [resume], "graph_id": "echo"})
    assert (refused.status_code, "needs a run" in refused.json()["detail"]) == (422, True)


async def test_a_thread_whose_first_state_cannot_be_applied_is_not_made(sdk: LangGraphClient) -> None:
    chosen = str(uuid4())
    with pytest.raises(UnprocessableEntityError, match="nobody"):
        steps = [{"updates": [{"values": {"text": "x"}, "as_node": "nobody"}]}]
        await sdk.threads.create(thread_id=chosen, supersteps=steps, graph_id="echo")
    with pytest.raises(NotFoundError):
        await sdk.threads.get(chosen)


async def test_a_thread_that_is_there_keeps_its_state_whatever_supersteps_say(sdk: LangGraphClient) -> None:
    chosen = str((await sdk.threads.create(supersteps=STEPS, graph_id="echo"))["thread_id"])
    other = [{"updates": [{"values": {"text": "other"}, "as_node": "__input__"}]}]
    again = await sdk.threads.create(thread_id=chosen, supersteps=other, graph_id="echo", if_exists="do_nothing")
    assert again["values"] == {"text": "from elsewhere", "log": ["one"]}


@pytest.mark.compat("Threads", "POST /threads/{id}/copy", "state, metadata and every checkpoint are copied; each goes on by itself")
async def test_a_copy_has_all_of_a_thread_and_goes_on_by_itself(sdk: LangGraphClient) -> None:
    thread_id = await conversation(sdk, "one", "two")
    await sdk.threads.update(thread_id, metadata={"topic": "greetings"})
    copy = await sdk.threads.copy(thread_id)
    copied = await sdk.threads.get(copy["thread_id"])  # type: ignore[index,call-overload]
    original = await sdk.threads.get(thread_id)
    assert (copied["values"], copied["metadata"], copied["status"]) == (original["values"], original["metadata"], "idle")
    checkpoints = [
        [state["checkpoint"]["checkpoint_id"] for state in await sdk.threads.get_history(t["thread_id"])] for t in (copied, original)
    ]
    assert checkpoints[0] == checkpoints[1]
    state = await sdk.threads.get_state(copied["thread_id"])
    assert state["metadata"]["thread_id"] == state["checkpoint"]["thread_id"] == copied["thread_id"]
    message = {"messages": [{"role": "user", "content": "three"}]}
    ended = await sdk.runs.wait(copied["thread_id"], "talker", input=message)
    assert [item["content"] for item in ended["messages"]] == ["one", "one", "two", "two", "three", "three"]
    assert await sdk.threads.get(thread_id) == original
    await sdk.threads.delete(thread_id)
    assert len((await sdk.threads.get_state(copied["thread_id"]))["values"]["messages"]) == 6  # type: ignore[call-overload]


async def test_a_copy_asks_the_question_its_original_asks(sdk: LangGraphClient) -> None:
    thread_id = str(uuid4())
    await sdk.runs.wait(thread_id, "asks", input={"text": "x"}, if_not_exists="create")
    copy = str((await sdk.threads.copy(thread_id))["thread_id"])  # type: ignore[index]
    for asked, answer in ((thread_id, "red"), (copy, "blue")):
        assert (await sdk.threads.get(asked))["status"] == "interrupted"
        assert (await sdk.runs.wait(asked, "asks", command={"resume": answer}))["log"] == [f"answer:{answer}"]


async def test_a_copy_made_during_a_run_outlives_the_run_that_is_rolled_back(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "echo", input={"text": "before"})
    run = await sdk.runs.create(thread_id, "waits", input={"text": "during"}, durability="sync")
    async with asyncio.timeout(30):
        while (await sdk.threads.get_state(thread_id))["next"] != ["wait"]:
            await asyncio.sleep(0.05)
    copy = str((await sdk.threads.copy(thread_id))["thread_id"])  # type: ignore[index]
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert [(await sdk.threads.get_state(thread))["next"] for thread in (thread_id, copy)] == [[], ["wait"]]
    assert (await sdk.threads.get(copy))["status"] == "idle"


@pytest.mark.compat("Threads", "POST /threads/prune: delete", "the threads are gone with their runs; threads with a run are passed over")
async def test_pruned_threads_are_gone_but_not_those_that_run(sdk: LangGraphClient) -> None:
    done, busy = await conversation(sdk, "one"), str((await sdk.threads.create())["thread_id"])
    run = await sdk.runs.create(busy, "waits", input={"text": "x"})
    assert await sdk.threads.prune([done, busy, MISSING]) == {"pruned_count": 1}
    with pytest.raises(NotFoundError):
        await sdk.threads.get(done)
    assert (await sdk.threads.get(busy))["status"] == "busy"
    await sdk.runs.cancel(busy, run["run_id"], wait=True)


@pytest.mark.compat("Threads", "POST /threads/prune: keep_latest", "older checkpoints are gone, the latest state stays and goes on")
async def test_a_thread_pruned_to_its_latest_state_goes_on(sdk: LangGraphClient) -> None:
    thread_id = await conversation(sdk, "one", "two")
    before = await sdk.threads.get_state(thread_id)
    assert await sdk.threads.prune([thread_id], strategy="keep_latest") == {"pruned_count": 1}
    assert len(await sdk.threads.get_history(thread_id)) == 1
    assert (await sdk.threads.get_state(thread_id))["values"] == before["values"]
    ended = await sdk.runs.wait(thread_id, "talker", input={"messages": [{"role": "user", "content": "three"}]})
    assert len(ended["messages"]) == 6


@pytest.mark.compat(
    "Threads",
    "POST /threads, PATCH /threads/{id}: ttl; GET /threads/{id}?include=ttl",
    "minutes, strategy and the moment it ends are shown",
)
async def test_a_thread_tells_when_it_ends(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(ttl=90)
    shown = (await sdk.threads.get(thread["thread_id"], include=["ttl"]))["ttl"]  # type: ignore[typeddict-item]
    assert (shown["strategy"], shown["ttl_minutes"]) == ("delete", 90)
    assert abs(datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC) - timedelta(minutes=90)) < timedelta(minutes=5)
    await sdk.threads.update(thread["thread_id"], metadata={}, ttl={"ttl": 10_000, "strategy": "keep_latest"})
    shown = (await sdk.threads.get(thread["thread_id"], include=["ttl"]))["ttl"]  # type: ignore[typeddict-item]
    assert (shown["strategy"], shown["ttl_minutes"]) == ("keep_latest", 10_000)
    assert "ttl" not in await sdk.threads.get(thread["thread_id"])
    assert "ttl" not in await sdk.threads.get((await sdk.threads.create())["thread_id"], include=["ttl"])


@pytest.mark.compat("Threads", "ttl: strategy delete", "once its time is over the thread is gone with its checkpoints")
async def test_a_thread_is_gone_once_its_time_is_over(sdk: LangGraphClient, pool: Pool) -> None:
    thread_id = await conversation(sdk, "one")
    await sdk.threads.update(thread_id, metadata={}, ttl={"ttl": 1e-6, "strategy": "delete"})
    await Expiry(pool).sweep(1000)
    with pytest.raises(NotFoundError):
        await sdk.threads.get(thread_id)
    await sdk.threads.create(thread_id=thread_id, graph_id="talker")
    assert await sdk.threads.get_history(thread_id) == []


@pytest.mark.compat("Threads", "ttl: strategy keep_latest", "once its time is over older checkpoints are gone; the thread goes on")
async def test_a_thread_keeps_its_latest_state_once_its_time_is_over(sdk: LangGraphClient, pool: Pool) -> None:
    thread_id = await conversation(sdk, "one", "two")
    await sdk.threads.update(thread_id, metadata={}, ttl={"ttl": 1e-6, "strategy": "keep_latest"})
    await Expiry(pool).sweep(1000)
    assert len(await sdk.threads.get_history(thread_id)) == 1
    ended = await sdk.runs.wait(thread_id, "talker", input={"messages": [{"role": "user", "content": "three"}]})
    assert len(ended["messages"]) == 6


@pytest.mark.compat("Threads", "PATCH /threads/{id}: Prefer: return=minimal", "the metadata is merged and the answer has no body")
async def test_an_update_may_be_answered_without_a_body(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create(metadata={"a": 1}))["thread_id"]
    assert await sdk.threads.update(thread_id, metadata={"b": 2}, return_minimal=True) is None
    assert (await sdk.threads.get(thread_id))["metadata"] == {"a": 1, "b": 2}


@pytest.mark.compat("Threads", "POST /threads/search: extract", "each path's value is shown under its name, null where there is none")
async def test_a_search_takes_out_what_it_is_asked_for(sdk: LangGraphClient) -> None:
    thread_id = await conversation(sdk, "hello", "bye")
    await sdk.threads.update(thread_id, metadata={"who": {"name": "Ada"}})
    paths = {
        "last": "values.messages[-1].content",
        "first": "values.messages[0].content",
        "all": "values.messages[*].type",
        "name": "metadata.who.name",
        "beyond": "values.messages[99].content",
        "none": "values.nothing.here",
        "waits": "interrupts",
    }
    (found,) = await sdk.threads.search(ids=[thread_id], extract=paths, select=["thread_id"])
    assert found["extracted"] == {
        "last": "bye",
        "first": "hello",
        "all": ["human", "ai", "human", "ai"],
        "name": "Ada",
        "beyond": None,
        "none": None,
        "waits": {},
    }
    assert set(found) == {"thread_id", "extracted"}


@pytest.mark.compat("Threads", "POST /threads/search: sort_by, sort_order", "every column sorts, both ways")
@pytest.mark.parametrize("column", ["thread_id", "status", "created_at", "updated_at", "state_updated_at"])
async def test_threads_are_sorted_by_every_column_both_ways(sdk: LangGraphClient, column: str) -> None:
    mark = str(uuid4())
    for graph in ("echo", "asks", "echo", "fails"):
        thread_id = (await sdk.threads.create(metadata={"mark": mark}))["thread_id"]
        await sdk.runs.wait(thread_id, graph, input={"text": "x"}, raise_error=False)
    up, down = [
        await sdk.threads.search(metadata={"mark": mark}, sort_by=column, sort_order=order)  # type: ignore[arg-type]
        for order in ("asc", "desc")
    ]
    shown = [thread[column] for thread in up]  # type: ignore[literal-required]
    assert (shown, len(shown)) == (sorted(shown), 4)
    assert [thread["thread_id"] for thread in down] == [thread["thread_id"] for thread in up][::-1]


@pytest.mark.compat("Threads", "POST /threads/search: pagination", "the headers tell how many match and where the next page begins")
async def test_pages_tell_how_many_there_are_and_where_to_go_on(http: httpx.AsyncClient) -> None:
    mark = str(uuid4())
    for number in range(3):
        await http.post("/threads", json={"metadata": {"mark": mark, "n": number}})
    first = await http.post("/threads/search", json={"metadata": {"mark": mark}, "limit": 2, "sort_order": "asc"})
    assert (first.headers["x-pagination-total"], first.headers["x-pagination-next"]) == ("3", "2")
    last = await http.post("/threads/search", json={"metadata": {"mark": mark}, "limit": 2, "offset": 2, "sort_order": "asc"})
    assert ([thread["metadata"]["n"] for thread in last.json()], last.headers["x-pagination-total"]) == ([2], "3")
    assert "x-pagination-next" not in last.headers


@pytest.mark.compat("Thread state", "state and history: select", "only the fields and keys of the state that were asked for are shown")
async def test_a_state_shows_the_fields_and_keys_it_is_asked_for(sdk: LangGraphClient) -> None:
    thread_id = str(uuid4())
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"}, if_not_exists="create")
    state = await sdk.threads.get_state(thread_id, select=["values.text", "next"])
    assert state == {"values": {"text": "x"}, "next": []}
    whole = await sdk.threads.get_state(thread_id)
    at = await sdk.threads.get_state(thread_id, checkpoint=whole["checkpoint"], select=["values.text"])
    assert at == {"values": {"text": "x"}}
    assert [set(item) for item in await sdk.threads.get_history(thread_id, limit=2, select=["next"])] == [{"next"}, {"next"}]


@pytest.mark.compat("Threads", "GET /threads/{id}/storage", "bytes and counts of checkpoints, channels and writes grow with the thread")
async def test_the_size_of_a_thread_grows_with_it(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    thread_id = await conversation(sdk, "hello " * 100)
    before = (await http.get(f"/threads/{thread_id}/storage")).json()
    parts = ("checkpoints", "channel_values", "pending_writes")
    assert before["total_bytes"] == sum(before[part]["bytes"] for part in parts)
    messages = before["channel_values"]["by_channel"]["messages"]
    assert messages["bytes"] >= 600 and messages["versions"] == 2
    assert before["checkpoints"]["count"] == len(await sdk.threads.get_history(thread_id))
    await sdk.runs.wait(thread_id, "talker", input={"messages": [{"role": "user", "content": "more " * 100}]})
    after = (await http.get(f"/threads/{thread_id}/storage")).json()
    assert all(after[part]["bytes"] > before[part]["bytes"] for part in parts)


@pytest.mark.compat("Threads", "POST /threads/count", "all matches are counted, by metadata, values and status")
async def test_threads_are_counted_by_values_and_status(sdk: LangGraphClient) -> None:
    mark = str(uuid4())
    for graph in ("echo", "echo", "asks"):
        await sdk.runs.wait(str(uuid4()), graph, input={"text": mark}, if_not_exists="create")
    assert await sdk.threads.count(values={"text": mark}) == 3
    assert await sdk.threads.count(values={"text": mark}, status="interrupted") == 1
    assert await sdk.threads.count(values={"log": [f"second:{mark}"]}) == 2


@pytest.mark.parametrize("call", ["copy", "storage"])
async def test_what_is_missing_is_not_found(http: httpx.AsyncClient, call: str) -> None:
    method = "POST" if call == "copy" else "GET"
    assert (await http.request(method, f"/threads/{MISSING}/{call}")).status_code == 404
