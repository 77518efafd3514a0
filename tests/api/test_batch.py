"""Many runs at once: accepted together or not at all, stopped together, and only ever the caller's own."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, NotFoundError

LATER = 3600


async def waiting(sdk: LangGraphClient, thread_id: str, count: int = 1) -> list[str]:
    """Runs that begin in an hour."""
    return [str((await sdk.runs.create(thread_id, "echo", input={"text": "x"}, after_seconds=LATER))["run_id"]) for _ in range(count)]


async def new_thread(sdk: LangGraphClient) -> str:
    return str((await sdk.threads.create())["thread_id"])


async def statuses(sdk: LangGraphClient, thread_id: str) -> list[str]:
    return [str(run["status"]) for run in reversed(await sdk.runs.list(thread_id, limit=100))]


async def begun(sdk: LangGraphClient, thread_id: str, run_id: str) -> None:
    async for _ in sdk.runs.join_stream(thread_id, run_id, stream_mode="updates"):
        return


@pytest.mark.compat("Runs", "POST /runs/batch", "several runs in the background, in the order given, each on a thread of its own")
async def test_a_batch_is_several_runs(sdk: LangGraphClient) -> None:
    asked = [{"assistant_id": "echo", "input": {"text": str(number)}, "metadata": {"n": number}} for number in range(5)]
    made = await sdk.runs.create_batch(asked)  # type: ignore[arg-type]
    assert [run["metadata"]["n"] for run in made] == list(range(5))  # type: ignore[index, call-overload]
    assert len({run["thread_id"] for run in made}) == 5
    values = await asyncio.gather(*(sdk.runs.join(run["thread_id"], run["run_id"]) for run in made))
    assert [value["text"] for value in values] == ["0", "1", "2", "3", "4"]


@pytest.mark.compat("Runs", "POST /runs/batch, one of them wrong", "none is accepted")
async def test_a_batch_with_one_wrong_run_is_none_at_all(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    mark = str(uuid4())
    made = await sdk.assistants.create("echo", metadata={"mark": mark})
    good = {"assistant_id": made["assistant_id"], "input": {"text": "x"}, "on_completion": "keep", "after_seconds": LATER}
    for wrong, status in (({"assistant_id": "ecko"}, 404), ({**good, "durability": "sometimes"}, 422), ({}, 422)):
        response = await http.post("/runs/batch", json=[good, wrong])
        assert response.status_code == status, response.text
    assert await sdk.threads.count(metadata={"assistant_id": made["assistant_id"]}) == 0
    assert len((await http.post("/runs/batch", json=[good, good])).json()) == 2
    assert await sdk.threads.count(metadata={"assistant_id": made["assistant_id"]}) == 2


@pytest.mark.parametrize("body", [[], {}, [{"assistant_id": "echo", "thread_id": str(uuid4())}], [{"assistant_id": "echo"}] * 1001])
async def test_what_is_no_batch_is_refused(http: httpx.AsyncClient, body: object) -> None:
    assert (await http.post("/runs/batch", json=body)).status_code == 422


@pytest.mark.compat("Runs", "POST /runs/cancel: thread_id and run_ids", "those runs of the thread stop, others go on")
async def test_runs_of_a_thread_are_cancelled_by_their_ids(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    running = (await sdk.runs.create(thread_id, "waits", input={"text": "x"}))["run_id"]
    await begun(sdk, thread_id, running)
    first, second = await waiting(sdk, thread_id, 2)
    await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[running, first, str(uuid4())])
    await sdk.runs.join(thread_id, running)
    assert await statuses(sdk, thread_id) == ["interrupted", "interrupted", "pending"]
    with pytest.raises(NotFoundError):
        await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[running, first])  # they have ended
    await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[second])
    assert (await sdk.threads.get(thread_id))["status"] == "interrupted"  # it waits behind the node it came to


@pytest.mark.compat("Runs", "POST /runs/cancel?action=rollback", "the runs are gone, with what they left")
async def test_a_rollback_of_many_takes_them_back(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "kept"})
    running = (await sdk.runs.create(thread_id, "waits", input={"text": "gone"}))["run_id"]
    await begun(sdk, thread_id, running)
    later = await waiting(sdk, thread_id, 2)
    await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[running, *later], action="rollback")
    async with asyncio.timeout(30):
        while len(await sdk.runs.list(thread_id)) > 1:
            await asyncio.sleep(0.05)
    thread = await sdk.threads.get(thread_id)
    assert (thread["status"], thread["values"]["text"], thread["metadata"]["graph_id"]) == ("idle", "kept", "echo")  # type: ignore[index, call-overload]


ID = str(uuid4())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"thread_id": ID},
        {"run_ids": [ID]},
        {"status": "happy"},
        {"thread_id": ID, "run_ids": []},
        {"thread_id": ID, "run_ids": ["x"]},
        {"status": "all", "thread_id": ID, "run_ids": [ID]},
    ],
)
async def test_what_to_cancel_is_said_in_one_way(http: httpx.AsyncClient, body: object) -> None:
    assert (await http.post("/runs/cancel", json=body)).status_code == 422


async def test_an_unknown_action_is_refused(http: httpx.AsyncClient) -> None:
    body = {"thread_id": str(uuid4()), "run_ids": [str(uuid4())]}
    assert (await http.post("/runs/cancel?action=explode", json=body)).status_code == 422
    assert (await http.post("/runs/cancel", json=body)).status_code == 404


async def test_two_who_cancel_the_same_runs_at_once_do_not_wait_for_each_other(sdk: LangGraphClient) -> None:
    threads = [await new_thread(sdk) for _ in range(6)]
    runs = {thread_id: await waiting(sdk, thread_id, 3) for thread_id in threads}
    attempts = [sdk.runs.cancel_many(thread_id=thread_id, run_ids=run_ids) for thread_id, run_ids in runs.items() for _ in range(3)]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, APIStatusError)]
    assert {error.response.status_code for error in refused} <= {404}
    assert answers.count(None) >= len(threads)
    for thread_id in threads:
        assert await statuses(sdk, thread_id) == ["interrupted"] * 3
        assert (await sdk.threads.get(thread_id))["status"] == "idle"
