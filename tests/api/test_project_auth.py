"""A project's own `langgraph_sdk.Auth`: who somebody is, and what its handlers let them touch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from tests.api.people import by_token, refused_with
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

PROJECT = Path(__file__).parent / "guarded_project" / "langgraph.json"

People = dict[str, LangGraphClient]


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server whose project says who may do what."""
    with serving(own_database_url, valkey.url, agents={"config": PROJECT, "shipped": False}) as address:
        yield address


@pytest.fixture(scope="module")
async def people(url: str) -> AsyncIterator[People]:
    """Ann and Bob of one organisation, Eve of another."""
    async with by_token(url, "ann", "bob", "eve") as clients:
        yield clients


@pytest.mark.compat("Custom auth", "auth.path: @auth.authenticate", "strangers are turned away with its own words and headers")
async def test_those_the_project_does_not_know_are_refused_in_its_own_words(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        for headers in ({}, {"authorization": "Bearer mallory"}, {"x-api-key": "fh_anything"}):
            answer = await client.post("/threads/search", json={}, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["detail"] == "who are you?"
            assert answer.headers["www-authenticate"] == 'Bearer realm="tests"'


@pytest.mark.compat("Custom auth", "handlers change metadata", "what @auth.on.threads.create writes into value is what is stored")
async def test_a_handler_writes_into_what_is_created(people: People) -> None:
    thread = await people["ann"].threads.create(metadata={"topic": "x"})
    assert thread["metadata"] == {"topic": "x", "owner": "ann", "readers": ["ann"]}
    assert (await people["ann"].threads.create())["metadata"]["owner"] == "ann"


@pytest.mark.compat("Custom auth", "filters", "a filter returned by a handler decides which objects of the organisation are found")
async def test_a_filter_decides_what_is_seen_within_the_organisation(people: People) -> None:
    ann, bob, eve = (people[name] for name in ("ann", "bob", "eve"))
    marker = uuid4().hex
    private = (await ann.threads.create(metadata={"marker": marker}))["thread_id"]
    told = (await ann.threads.create(metadata={"marker": marker, "readers": ["bob", "eve"]}))["thread_id"]
    assert await refused_with(bob.threads.get(private)) == 404
    assert (await bob.threads.get(told))["metadata"]["owner"] == "ann"  # by $contains
    assert await refused_with(eve.threads.get(told)) == 404  # another organisation
    assert [thread["thread_id"] for thread in await bob.threads.search(metadata={"marker": marker})] == []
    assert len(await ann.threads.search(metadata={"marker": marker})) == 2
    assert await refused_with(bob.threads.update(told, metadata={"x": 1})) == 404
    assert await refused_with(bob.runs.create(told, "whoami")) == 404
    assert await refused_with(bob.threads.create(thread_id=private)) == 409
    assert await refused_with(bob.threads.create(thread_id=private, if_exists="do_nothing")) in {404, 409}


@pytest.mark.compat("Custom auth", "langgraph_auth_user", "graphs read who asked, with every key of the project's own")
async def test_a_graph_knows_for_whom_it_runs(people: People) -> None:
    thread = await people["bob"].threads.create()
    run = await people["bob"].runs.create(thread["thread_id"], "whoami", input={"identity": ""})
    assert run["metadata"]["asked_by"] == "bob"
    assert await people["bob"].runs.join(thread["thread_id"], run["run_id"]) == {"identity": "bob", "team": "blue", "team_of_user": "blue"}
    alone = await people["ann"].runs.wait(None, "whoami", input={"identity": ""})
    assert alone == {"identity": "ann", "team": "red", "team_of_user": "red"}


async def test_nobody_passes_for_another_by_what_they_send(people: People) -> None:
    forged = {"configurable": {"langgraph_auth_user": {"identity": "ann"}, "langgraph_auth_user_id": "ann", "team": "red"}}
    answer = await people["bob"].runs.wait(None, "whoami", input={"identity": ""}, config=forged)
    assert answer == {"identity": "bob", "team": "blue", "team_of_user": "blue"}


@pytest.mark.compat("Custom auth", "False and HTTPException", "a handler's refusal is 403 or the project's own status and words")
async def test_a_handler_may_refuse(people: People, url: str) -> None:
    thread = await people["bob"].threads.create()
    assert await refused_with(people["bob"].threads.delete(thread["thread_id"])) == 403
    kept = await people["bob"].threads.get(thread["thread_id"])
    assert kept["thread_id"] == thread["thread_id"]
    async with httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer ann"}) as client:
        answer = await client.post("/assistants/search", json={})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "assistants are not listed here"


@pytest.mark.compat("Custom auth", "auth.openapi", "the OpenAPI document names the project's own security schemes")
async def test_the_openapi_document_tells_of_the_projects_credentials(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer ann"}) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"token": []}]


@pytest.mark.compat("Custom auth", "crons", "who makes one is asked for as who starts its runs, and these act for them")
async def test_a_cron_starts_what_its_maker_may_start_and_acts_for_them(people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    thread = (await ann.threads.create())["thread_id"]
    assert await refused_with(bob.crons.create_for_thread(thread, "whoami", schedule="* * * * * *")) == 404
    cron = await ann.crons.create_for_thread(thread, "whoami", schedule="* * * * * *", input={"team": "x"})
    async with asyncio.timeout(60):
        while not (await ann.threads.get(thread))["values"]:
            await asyncio.sleep(0.2)
    await ann.crons.delete(cron["cron_id"])  # type: ignore[typeddict-item]
    values = (await ann.threads.get(thread))["values"]
    assert (values["identity"], values["team_of_user"]) == ("ann", "red")
