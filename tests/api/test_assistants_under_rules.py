"""Assistants and batches under a project's own authorisation handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from langgraph_sdk.client import LangGraphClient
from tests.api.people import by_token, refused_with
from tests.api.serving import serving
from tests.api.test_project_auth import PROJECT
from tests.support.servers import ValkeyServer

People = dict[str, LangGraphClient]


@pytest.fixture(scope="module")
def api_database_url(own_database_url: str) -> str:
    """A database of its own."""
    return own_database_url


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server whose project says who may read which assistant."""
    with serving(api_database_url, valkey.url, agents={"config": PROJECT, "shipped": False}) as address:
        yield address


@pytest.fixture(scope="module")
async def people(url: str) -> AsyncIterator[People]:
    """Ann and Bob of one organisation, Eve of another."""
    async with by_token(url, "ann", "bob", "eve") as clients:
        yield clients


@pytest.mark.compat("Authentication", "@auth.on.assistants.read", "decides which assistants are read, and which a run may use")
async def test_a_run_uses_only_assistants_its_caller_may_read(people: People) -> None:
    ann, bob, eve = (people[name] for name in ("ann", "bob", "eve"))
    private = (await ann.assistants.create("whoami", metadata={"kind": "private"}))["assistant_id"]
    told = (await ann.assistants.create("whoami", metadata={"readers": ["bob", "eve"]}))["assistant_id"]
    assert (await bob.assistants.get(told))["metadata"]["readers"] == ["ann", "bob", "eve"]  # type: ignore[index, call-overload]
    assert await refused_with(bob.assistants.get(private)) == 404
    assert await refused_with(eve.assistants.get(told)) == 404  # another organisation
    run = {"input": {"identity": ""}}
    assert (await bob.runs.wait(None, told, **run))["identity"] == "bob"  # type: ignore[call-overload]
    assert (await ann.runs.wait(None, private, **run))["identity"] == "ann"  # type: ignore[call-overload]
    assert await refused_with(bob.runs.wait(None, private, **run)) == 404  # type: ignore[call-overload]
    assert await refused_with(bob.runs.create_batch([{"assistant_id": private, **run}])) == 404  # type: ignore[typeddict-item]


@pytest.mark.compat("Authentication", "@auth.on.threads.create_run and POST /runs/batch", "is asked for every run of a batch")
async def test_each_run_of_a_batch_is_put_to_the_projects_handlers(people: People) -> None:
    asked = [{"assistant_id": "whoami", "input": {"identity": ""}, "metadata": {"n": number}} for number in range(3)]
    runs = await people["bob"].runs.create_batch(asked)  # type: ignore[arg-type]
    assert [(run["metadata"]["n"], run["metadata"]["asked_by"]) for run in runs] == [(0, "bob"), (1, "bob"), (2, "bob")]  # type: ignore[index, call-overload]
    assert {run["kwargs"]["config"]["configurable"]["team"] for run in runs} == {"blue"}  # type: ignore[typeddict-item]


async def test_what_a_handler_adds_to_configurable_goes_with_a_clients_context(people: People) -> None:
    values = await people["bob"].runs.wait(None, "whoami", input={"identity": ""}, context={"tone": "calm"})
    assert values["team"] == "blue"  # type: ignore[call-overload]


async def test_who_may_delete_an_assistant_of_another_does_not_delete_their_threads(people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    made = (await bob.assistants.create("whoami"))["assistant_id"]
    theirs, own = [(await person.threads.create(metadata={"assistant_id": made}))["thread_id"] for person in (bob, ann)]
    await ann.assistants.delete(made, delete_threads=True)  # as the rules of this project have it
    assert (await bob.threads.get(theirs))["thread_id"] == theirs
    assert await refused_with(ann.threads.get(own)) == 404


async def test_threads_go_with_an_assistant_only_where_their_owner_may_delete_threads(people: People) -> None:
    bob = people["bob"]
    made = (await bob.assistants.create("whoami"))["assistant_id"]
    own = (await bob.threads.create(metadata={"assistant_id": made}))["thread_id"]
    assert await refused_with(bob.assistants.delete(made, delete_threads=True)) == 403
    assert (await bob.threads.get(own))["thread_id"] == own
    assert (await bob.assistants.create("whoami", assistant_id=made, if_exists="do_nothing"))["assistant_id"] == made
    await bob.assistants.delete(made)
