"""Crons over HTTP: kept, changed, found, and fired by the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from psycopg.rows import dict_row
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

#: Does not fire while tests run.
RARELY = "0 0 1 1 *"
EVERY_SECOND = "* * * * * *"


async def fired(http: httpx.AsyncClient, cron_id: str, *, but: str | None = None) -> dict[str, Any]:
    """The cron once it has fired, for another run than `but`."""
    async with asyncio.timeout(30):
        while True:
            cron: dict[str, Any] = (await http.get(f"/runs/crons/{cron_id}")).json()
            if cron["last_run_id"] not in (None, but):
                return cron
            await asyncio.sleep(0.1)


async def threads_of(sdk: LangGraphClient, cron_id: str) -> list[Any]:
    return list(await sdk.threads.search(metadata={"cron_id": cron_id}, limit=100))


@pytest.mark.compat("Crons", "POST /runs/crons", "each firing runs the agent on a thread of its own")
async def test_a_cron_runs_its_agent_on_a_thread_of_its_own_each_time(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    made: Any = await sdk.crons.create(
        "echo", schedule=EVERY_SECOND, input={"text": "tick"}, on_run_completed="keep", metadata={"by": "test"}
    )
    try:
        first = await fired(http, made["cron_id"])
        await fired(http, made["cron_id"], but=first["last_run_id"])
    finally:
        await sdk.crons.delete(made["cron_id"])
    threads = await threads_of(sdk, made["cron_id"])
    assert len(threads) >= 2
    async with asyncio.timeout(30):
        while any(thread["status"] == "busy" for thread in threads):
            await asyncio.sleep(0.1)
            threads = await threads_of(sdk, made["cron_id"])
    assert all(thread["values"]["log"] == ["first:tick:plain", "second:tick"] for thread in threads)
    (run,) = await sdk.runs.list(threads[0]["thread_id"])
    assert run["metadata"]["by"] == "test" and run["metadata"]["cron_id"] == made["cron_id"]
    assert run["kwargs"]["config"]["configurable"]["cron_id"] == made["cron_id"]
    assert datetime.fromisoformat(run["metadata"]["cron_run_date"]) <= datetime.fromisoformat(run["created_at"])


@pytest.mark.compat("Crons", "on_run_completed delete", "the thread of a firing goes once its run has ended")
async def test_the_thread_of_a_firing_is_temporary_unless_it_is_to_be_kept(
    sdk: LangGraphClient, http: httpx.AsyncClient, api_database_url: str
) -> None:
    made: Any = await sdk.crons.create("echo", schedule=EVERY_SECOND, input={"text": "tick"})
    assert made["on_run_completed"] == "delete"
    await fired(http, made["cron_id"])
    await sdk.crons.delete(made["cron_id"])
    async with await psycopg.AsyncConnection.connect(api_database_url, row_factory=dict_row) as conn:
        rows = await (
            await conn.execute("SELECT temporary FROM freehold.threads WHERE metadata->>'cron_id' = %s", [made["cron_id"]])
        ).fetchall()
    assert rows and all(row["temporary"] for row in rows)


@pytest.mark.compat("Crons", "POST /threads/{id}/runs/crons", "each firing goes on with the same thread")
async def test_a_cron_of_a_thread_goes_on_with_it(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    thread = await sdk.threads.create()
    made: Any = await sdk.crons.create_for_thread(thread["thread_id"], "echo", schedule=EVERY_SECOND, input={"text": "tick"})
    assert (made["thread_id"], made["on_run_completed"]) == (thread["thread_id"], None)
    first = await fired(http, made["cron_id"])
    second = await fired(http, made["cron_id"], but=first["last_run_id"])
    await sdk.crons.delete(made["cron_id"])
    await sdk.runs.join(thread["thread_id"], second["last_run_id"])
    values: Any = (await sdk.threads.get_state(thread["thread_id"]))["values"]
    assert values["log"].count("first:tick:plain") >= 2


@pytest.mark.compat("Crons", "multitask_strategy", "reject skips a firing while the thread is busy, and says so")
async def test_a_firing_is_skipped_where_its_thread_is_busy_and_the_strategy_is_reject(
    sdk: LangGraphClient, http: httpx.AsyncClient
) -> None:
    thread = await sdk.threads.create()
    run = await sdk.runs.create(thread["thread_id"], "waits", input={"text": "busy"})
    made: Any = await sdk.crons.create_for_thread(thread["thread_id"], "echo", schedule=EVERY_SECOND, multitask_strategy="reject")
    async with asyncio.timeout(30):
        while not (cron := (await http.get(f"/runs/crons/{made['cron_id']}")).json())["last_error"]:
            await asyncio.sleep(0.1)
    await sdk.crons.delete(made["cron_id"])
    assert "already running" in cron["last_error"] and cron["enabled"] and cron["last_run_id"] is None
    assert [found["run_id"] for found in await sdk.runs.list(thread["thread_id"])] == [run["run_id"]]
    await sdk.runs.cancel(thread["thread_id"], run["run_id"], wait=True)


@pytest.mark.compat("Crons", "multitask_strategy", "interrupt stops the run that is active")
async def test_a_firing_stops_the_active_run_where_the_strategy_is_interrupt(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    thread = await sdk.threads.create()
    run = await sdk.runs.create(thread["thread_id"], "waits", input={"text": "busy"})
    made: Any = await sdk.crons.create_for_thread(
        thread["thread_id"], "echo", schedule=EVERY_SECOND, input={"text": "tick"}, multitask_strategy="interrupt"
    )
    started = await fired(http, made["cron_id"])
    await sdk.crons.delete(made["cron_id"])
    await sdk.runs.join(thread["thread_id"], started["last_run_id"])
    assert (await sdk.runs.get(thread["thread_id"], run["run_id"]))["status"] == "interrupted"


@pytest.mark.compat("Crons", "timezone", "the schedule is meant in the zone; null is UTC")
async def test_the_next_date_is_told_in_the_zone_of_the_schedule(sdk: LangGraphClient) -> None:
    made: Any = await sdk.crons.create("echo", schedule="30 9 * * *", timezone="America/New_York")
    plain: Any = await sdk.crons.create("echo", schedule="30 9 * * *")
    local = datetime.fromisoformat(made["next_run_date"]).astimezone(ZoneInfo("America/New_York"))
    assert (local.hour, local.minute, made["timezone"]) == (9, 30, "America/New_York")
    utc = datetime.fromisoformat(plain["next_run_date"])
    assert (utc.hour, utc.utcoffset(), plain["timezone"]) == (9, timedelta(0), None)
    for cron in (made, plain):
        await sdk.crons.delete(cron["cron_id"])


@pytest.mark.compat("Crons", "end_time", "nothing fires behind it; PATCH null takes it away")
async def test_behind_its_end_a_cron_fires_no_more_until_the_end_is_taken_away(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    end = datetime.now(UTC) + timedelta(seconds=2)
    made: Any = await sdk.crons.create("echo", schedule=EVERY_SECOND, end_time=end, input={"text": "tick"})
    async with asyncio.timeout(30):
        while (cron := (await http.get(f"/runs/crons/{made['cron_id']}")).json())["next_run_date"]:
            await asyncio.sleep(0.1)
    assert cron["enabled"] and datetime.fromisoformat(cron["end_time"]) == end
    again: Any = await sdk.crons.update(made["cron_id"], end_time=None)
    assert again["end_time"] is None and again["next_run_date"]
    await fired(http, made["cron_id"], but=cron["last_run_id"])
    await sdk.crons.delete(made["cron_id"])


async def test_an_end_that_is_left_out_of_a_change_stays(sdk: LangGraphClient) -> None:
    made: Any = await sdk.crons.create("echo", schedule=RARELY, end_time=datetime(2090, 1, 1, tzinfo=UTC))
    changed: Any = await sdk.crons.update(made["cron_id"], input={"text": "b"})
    assert changed["end_time"] == made["end_time"]
    await sdk.crons.delete(made["cron_id"])


@pytest.mark.compat("Crons", "enabled", "a disabled cron does not fire; enabled again it goes on without making up for what was missed")
async def test_a_disabled_cron_waits_and_then_goes_on(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    made: Any = await sdk.crons.create("echo", schedule=EVERY_SECOND, enabled=False, input={"text": "tick"})
    witness: Any = await sdk.crons.create("echo", schedule=EVERY_SECOND, input={"text": "tick"})
    await fired(http, witness["cron_id"])
    assert (await http.get(f"/runs/crons/{made['cron_id']}")).json()["last_run_id"] is None
    changed: Any = await sdk.crons.update(made["cron_id"], enabled=True)
    assert datetime.fromisoformat(changed["next_run_date"]) > datetime.fromisoformat(made["created_at"])
    await fired(http, made["cron_id"])
    for cron in (made, witness):
        await sdk.crons.delete(cron["cron_id"])


@pytest.mark.compat("Crons", "PATCH /runs/crons/{id}", "what is left out stays, metadata are merged, the next date follows the schedule")
async def test_a_change_keeps_what_it_leaves_out(sdk: LangGraphClient) -> None:
    made: Any = await sdk.crons.create(
        "echo",
        schedule=RARELY,
        timezone="Europe/Berlin",
        input={"text": "a"},
        metadata={"one": 1},
        config={"configurable": {"tone": "loud"}},
    )
    changed: Any = await sdk.crons.update(made["cron_id"], schedule="0 12 * * *", metadata={"two": 2}, input={"text": "b"})
    assert changed["metadata"] == {"one": 1, "two": 2}
    assert changed["payload"]["input"] == {"text": "b"}
    assert changed["payload"]["config"]["configurable"] == {"tone": "loud", "cron_id": made["cron_id"]}
    assert (changed["schedule"], changed["timezone"]) == ("0 12 * * *", "Europe/Berlin")
    assert datetime.fromisoformat(changed["next_run_date"]).astimezone(ZoneInfo("Europe/Berlin")).hour == 12
    await sdk.crons.delete(made["cron_id"])


@pytest.mark.compat("Crons", "GET, DELETE /runs/crons/{id}", "a cron as it was made, and none once it was deleted")
async def test_a_cron_is_answered_as_it_was_made_until_it_is_deleted(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    made: Any = await sdk.crons.create("echo", schedule=RARELY, input={"text": "a"})
    assert made["payload"]["schedule"] == RARELY and made["payload"]["assistant_id"] == made["assistant_id"]
    assert made["user_id"] == "local"
    assert (await http.get(f"/runs/crons/{made['cron_id']}")).json() == made
    assert (await http.delete(f"/runs/crons/{made['cron_id']}")).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await http.request(method, f"/runs/crons/{made['cron_id']}")).status_code == 404


@pytest.mark.compat("Crons", "POST /runs/crons/search, POST /runs/crons/count", "filters, order, pages, select; count is a bare integer")
async def test_crons_are_found_by_what_they_are(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    mark = str(uuid4())
    thread = await sdk.threads.create()
    first: Any = await sdk.crons.create("echo", schedule=RARELY, metadata={"mark": mark})
    second: Any = await sdk.crons.create_for_thread(
        thread["thread_id"], "asks", schedule="0 0 1 7 *", metadata={"mark": mark}, enabled=False
    )
    ids = [first["cron_id"], second["cron_id"]]

    async def found(**wanted: Any) -> list[str]:
        return [cron["cron_id"] for cron in await sdk.crons.search(**{"metadata": {"mark": mark}, **wanted})]

    assert await found() == ids[::-1]
    assert await found(sort_by="created_at", sort_order="asc") == ids
    assert await found(sort_by="next_run_date", sort_order="asc") in (ids, ids[::-1])
    assert await found(assistant_id="echo") == ids[:1]
    assert await found(assistant_id=second["assistant_id"]) == ids[1:]
    assert await found(thread_id=thread["thread_id"]) == ids[1:]
    assert await found(enabled=True) == ids[:1]
    assert await found(limit=1, offset=1) == ids[:1]
    assert await found(metadata={"mark": "other"}) == []
    assert await sdk.crons.search(metadata={"mark": mark}, select=["cron_id", "enabled"], sort_order="asc") == [
        {"cron_id": first["cron_id"], "enabled": True},
        {"cron_id": second["cron_id"], "enabled": False},
    ]
    page = await http.post("/runs/crons/search", json={"metadata": {"mark": mark}, "limit": 1})
    assert (page.headers["x-pagination-total"], page.headers["x-pagination-next"]) == ("2", "1")
    assert (await http.post("/runs/crons/count", json={"metadata": {"mark": mark}})).text == "2"
    assert (await http.post("/runs/crons/count", json={"metadata": {"mark": mark}, "thread_id": thread["thread_id"]})).json() == 1
    for cron_id in ids:
        await sdk.crons.delete(cron_id)


@pytest.mark.compat("Crons", "DELETE /threads/{id}, POST /threads/prune", "a thread takes its crons with it")
@pytest.mark.parametrize("prune", [False, True])
async def test_a_thread_takes_its_crons_with_it(sdk: LangGraphClient, http: httpx.AsyncClient, prune: bool) -> None:
    gone, other = [str((await sdk.threads.create())["thread_id"]) for _ in range(2)]
    crons: list[Any] = [await sdk.crons.create_for_thread(thread_id, "echo", schedule=RARELY) for thread_id in (gone, other)]
    await (sdk.threads.prune([gone]) if prune else sdk.threads.delete(gone))
    assert [(await http.get(f"/runs/crons/{cron['cron_id']}")).status_code for cron in crons] == [404, 200]
    await sdk.threads.delete(other)


@pytest.mark.compat("Crons", "a cron whose thread is gone", "is disabled, and last_error says why")
async def test_a_cron_whose_thread_is_gone_is_disabled_and_says_why(
    sdk: LangGraphClient, http: httpx.AsyncClient, api_database_url: str
) -> None:
    thread = await sdk.threads.create()
    made: Any = await sdk.crons.create_for_thread(thread["thread_id"], "echo", schedule=EVERY_SECOND)
    async with await psycopg.AsyncConnection.connect(api_database_url, autocommit=True) as conn:  # as one whose time to live is over
        await conn.execute("DELETE FROM freehold.threads WHERE thread_id = %s", (thread["thread_id"],))
    async with asyncio.timeout(30):
        while (cron := (await http.get(f"/runs/crons/{made['cron_id']}")).json())["enabled"]:
            await asyncio.sleep(0.1)
    assert thread["thread_id"] in cron["last_error"]
    await sdk.crons.delete(made["cron_id"])


async def test_a_server_that_has_crons_says_so(http: httpx.AsyncClient) -> None:
    assert (await http.get("/info")).json()["flags"]["crons"] is True


@pytest.mark.compat("Crons", "a wrong schedule, zone or field", "422 that says what was expected")
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "schedule"),
        ({"schedule": "every day"}, "schedule"),
        ({"schedule": "61 * * * *"}, "the minute is wrong"),
        ({"schedule": RARELY, "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"schedule": RARELY, "end_time": "tomorrow"}, "end_time"),
        ({"schedule": RARELY, "on_run_completed": "maybe"}, "on_run_completed"),
        ({"schedule": RARELY, "after_seconds": 5}, "after_seconds"),
        ({"schedule": RARELY, "checkpoint_id": "x"}, "checkpoint_id"),
        ({"schedule": RARELY, "webhook": "nope"}, "webhook"),
    ],
)
async def test_what_makes_no_cron_is_refused(http: httpx.AsyncClient, body: dict[str, Any], told: str) -> None:
    response = await http.post("/runs/crons", json={"assistant_id": "echo", **body})
    assert response.status_code == 422 and told in response.json()["detail"]


async def test_a_change_that_makes_no_cron_is_refused_and_changes_nothing(sdk: LangGraphClient, http: httpx.AsyncClient) -> None:
    made: Any = await sdk.crons.create("echo", schedule=RARELY)
    for body in ({"schedule": "nope"}, {"timezone": "Nowhere"}, {"assistant_id": "asks"}, {"input": "\0"}, {"config": {"tags": 1}}):
        assert (await http.patch(f"/runs/crons/{made['cron_id']}", json=body)).status_code == 422, body
    assert (await http.get(f"/runs/crons/{made['cron_id']}")).json() == made
    thread = await sdk.threads.create()
    on_thread: Any = await sdk.crons.create_for_thread(thread["thread_id"], "echo", schedule=RARELY)
    assert (await http.patch(f"/runs/crons/{on_thread['cron_id']}", json={"on_run_completed": "keep"})).status_code == 422
    for cron in (made, on_thread):
        await sdk.crons.delete(cron["cron_id"])


@pytest.mark.parametrize(
    "body",
    [
        {"sort_by": "payload"},
        {"sort_by": "cron_id; DROP TABLE freehold.crons"},
        {"select": ["password"]},
        {"sort_order": "sideways"},
        {"thread_id": "x"},
        {"limit": 0},
    ],
)
async def test_a_search_for_what_there_is_not_is_refused(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await http.post("/runs/crons/search", json=body)).status_code == 422


async def test_an_assistant_or_thread_that_is_not_there_makes_no_cron(http: httpx.AsyncClient) -> None:
    assert (await http.post("/runs/crons", json={"assistant_id": "nobody", "schedule": RARELY})).status_code == 404
    missing = await http.post(f"/threads/{uuid4()}/runs/crons", json={"assistant_id": "echo", "schedule": RARELY})
    assert missing.status_code == 404


@pytest.mark.compat("Crons", "several servers and workers", "every date of a schedule fires exactly once")
async def test_with_two_servers_and_two_workers_every_date_fires_once(database_url: str, valkey: ValkeyServer) -> None:
    with serving(database_url, valkey.url) as first, serving(database_url, valkey.url) as second:
        async with get_client(url=first, api_key=None) as one, get_client(url=second, api_key=None) as other:
            made: list[Any] = [
                await client.crons.create("echo", schedule=EVERY_SECOND, input={"text": "tick"}, on_run_completed="keep")
                for client in (one, other, one, other)
            ]
            async with asyncio.timeout(60):
                while min([len(await threads_of(other, cron["cron_id"])) for cron in made]) < 5:
                    await asyncio.sleep(0.5)
            for cron in made:
                await one.crons.delete(cron["cron_id"])
            runs = [
                run
                for cron in made
                for thread in await threads_of(one, cron["cron_id"])
                for run in await one.runs.list(thread["thread_id"])
            ]
    fired = [(run["metadata"]["cron_id"], run["metadata"]["cron_run_date"]) for run in runs]
    assert len(fired) == len(set(fired)) >= 20


@pytest.fixture(scope="module")
def guarded_url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that needs keys."""
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture(scope="module")
async def people(guarded_url: str, api_database_url: str) -> AsyncIterator[tuple[LangGraphClient, LangGraphClient]]:
    """Two owners."""
    keys = {"cron-ada": generate(), "cron-bob": generate()}
    async with create_pool(api_database_url, max_size=2) as pool, AsyncExitStack() as stack:
        for owner, key in keys.items():
            await ApiKeys(pool).add(key, name=owner, owner=owner)
        ada, bob = [await stack.enter_async_context(get_client(url=guarded_url, api_key=key)) for key in keys.values()]
        yield ada, bob


@pytest.mark.compat("Crons", "of others", "are neither seen, changed nor deleted, and run for their owner alone")
async def test_a_strangers_cron_is_not_there(people: tuple[LangGraphClient, LangGraphClient]) -> None:
    ada, bob = people
    thread = await ada.threads.create()
    made: Any = await ada.crons.create_for_thread(thread["thread_id"], "echo", schedule=EVERY_SECOND, metadata={"mark": "ada's"})
    assert made["user_id"] == "cron-ada"
    assert await bob.crons.search() == [] and await bob.crons.count() == 0
    with pytest.raises(APIStatusError) as refused:
        await bob.crons.update(made["cron_id"], enabled=False)
    assert refused.value.status_code == 404
    with pytest.raises(APIStatusError) as refused:
        await bob.crons.delete(made["cron_id"])
    assert refused.value.status_code == 404
    with pytest.raises(APIStatusError) as refused:
        await bob.crons.create_for_thread(thread["thread_id"], "echo", schedule=RARELY)
    assert refused.value.status_code == 404
    async with asyncio.timeout(30):
        while not await ada.runs.list(thread["thread_id"]):
            await asyncio.sleep(0.1)
    assert [cron["cron_id"] for cron in await ada.crons.search()] == [made["cron_id"]]
    await ada.crons.delete(made["cron_id"])
