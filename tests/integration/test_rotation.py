"""Other secrets for a running stack: nobody is locked out, runs go on, and what does not work with a new one gets the old one back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.support.stack_folder import Folder, make_folder

from freehold.targets.native.connections import connections

PROJECT = Path(__file__).parents[1] / "chaos" / "project"
MORE = 'auth = "keys"\n[agents]\nconfig = "agents/langgraph.json"\n'
#: Ends a process of the stack that was given another password than the one in the file.
PICKY = """
import os, pathlib, sys
allowed = pathlib.Path(__file__).with_name("allowed")
if allowed.exists() and "serve" in sys.orig_argv and allowed.read_text() not in os.environ.get("DATABASE_URL", ""):
    sys.exit("this password is not for me")
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A running stack; tests leave it running, and well."""
    folder = make_folder(tmp_path_factory.mktemp("rotation") / "project", MORE)
    shutil.copytree(PROJECT, folder.path / "agents")
    (folder.path / "picky").mkdir()
    (folder.path / "picky" / "sitecustomize.py").write_text(PICKY)
    folder.run("up", "--detach", PYTHONPATH=os.pathsep.join((str(folder.path / "picky"), os.environ.get("PYTHONPATH", ""))))
    yield folder
    folder.run("reset", "--yes", code=None)


def values(folder: Folder) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in folder.home.secrets.iterdir()}


async def test_all_secrets_change_under_running_runs(stack: Folder) -> None:
    before = values(stack)
    old_url = connections(stack.home.path).database_url
    headers = {"x-api-key": before["api_key"]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.port}", headers=headers, timeout=60) as client:
        started = [await start(client) for _ in range(6)]
        asking, answers = asyncio.Event(), []
        stream = asyncio.create_task(keep_asking(client, asking, answers))
        done = await asyncio.to_thread(stack.run, "secrets", "rotate", "--all", "--json", "--grace", "1h")
        asking.set()
        await stream
        ends = [await end(client, *run) for run in started]
    assert [run["status"] for run in ends] == ["success"] * 6
    assert set(answers) == {200}
    after = values(stack)
    assert {name: after[name] == value for name, value in before.items()} == dict.fromkeys(before, False)
    assert {one["name"] for one in json.loads(done.stdout)} == set(before)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(old_url)
    with psycopg.connect(connections(stack.home.path).database_url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("freehold_app",)
    assert not [word for word in (*before.values(), *after.values()) if word in done.stdout + done.stderr]
    url = f"http://127.0.0.1:{stack.port}/threads/search"
    assert httpx.post(url, json={}, headers={"x-api-key": after["api_key"]}).status_code == 200
    assert httpx.post(url, json={}, headers=headers).status_code == 200
    stack.run("secrets", "rotate", "api_key", "--grace", "0h")
    assert httpx.post(url, json={}, headers={"x-api-key": after["api_key"]}).status_code == 401


async def start(client: httpx.AsyncClient) -> tuple[str, str]:
    thread = (await client.post("/threads", json={})).json()["thread_id"]
    body = {"assistant_id": "chain", "input": {"items": []}, "config": {"configurable": {"seconds": 2.0}}}
    answer = await client.post(f"/threads/{thread}/runs", json=body)
    assert answer.status_code == 200, answer.text
    return thread, answer.json()["run_id"]


async def end(client: httpx.AsyncClient, thread: str, run: str) -> dict[str, Any]:
    while (found := (await client.get(f"/threads/{thread}/runs/{run}")).json())["status"] in ("pending", "running"):
        await asyncio.sleep(0.2)
    return dict(found)


async def keep_asking(client: httpx.AsyncClient, until: asyncio.Event, answers: list[int]) -> None:
    """Requests that a server which is just restarting cannot take are sent again, as every client does; no answer may be a refusal."""
    while not until.is_set():
        try:
            answers.append((await client.post("/threads/search", json={})).status_code)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        await asyncio.sleep(0.05)


async def test_a_service_that_is_not_well_with_the_new_value_gets_the_old_one_back(stack: Folder) -> None:
    before = values(stack)
    (stack.path / "picky" / "allowed").write_text(before["postgres_app"])
    error = stack.run("secrets", "rotate", "postgres_app", code=5).stderr
    (stack.path / "picky" / "allowed").unlink()
    assert "keeps its old value" in error
    assert "freehold logs server" in error
    assert values(stack) == before
    assert json.loads(stack.run("status", "--json").stdout)["healthy"] is True
    with psycopg.connect(connections(stack.home.path).database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_list_has_ages_and_users_and_no_values(stack: Folder) -> None:
    done = stack.run("secrets", "list")
    assert "first API key of the agent server" in done.stdout
    assert "server, worker" in done.stdout
    assert not [value for value in values(stack).values() if value in done.stdout]
    listed = {one["name"]: one for one in json.loads(stack.run("secrets", "list", "--json").stdout)}
    assert listed["postgres_app"]["role"] == "freehold_app"
    assert listed["api_key"]["users"] == ["server"]


def test_a_stack_that_is_not_well_is_left_alone(stack: Folder) -> None:
    before = values(stack)
    stack.run("down")
    assert "no stack is running here" in stack.run("secrets", "rotate", "--all", code=5).stderr
    assert values(stack) == before
    assert "say --all" in stack.run("secrets", "rotate", code=2).stderr
