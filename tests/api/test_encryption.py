"""`encryption` of langgraph.json: nothing of what people and graphs say stands in the database in clear, and all of it still works."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph_sdk import get_client
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.bootstrap import open_server, open_worker
from freehold.config.settings import Settings
from freehold.core.errors import FreeholdError

pytestmark = pytest.mark.filterwarnings("ignore:The Encryption API is in beta")

PROJECT = Path(__file__).parent / "encrypted_project" / "langgraph.json"
SECRET = "tangerine-4711"
AGENTS = {"config": PROJECT, "shipped": False}
HEADERS = {"X-Encryption-Context": base64.b64encode(json.dumps({"tenant": "blue"}).encode()).decode()}


def told(topic: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{SECRET} {'x' * 300}"}], "secret": SECRET, "topic": topic}


def found_in(database_url: str) -> list[str]:
    """Tables with the secret in them, in any column, as text or in bytes, in clear, as hexadecimals or in base64 at any offset."""
    needles = [SECRET.encode(), *(base64.b64encode(b"x" * shift + SECRET.encode())[4:-4] for shift in range(3))]
    found = []
    with psycopg.connect(database_url, autocommit=True) as conn:
        tables = conn.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('freehold', 'public')").fetchall()
        for schema, table in tables:
            for row in conn.execute(f'SELECT * FROM "{schema}"."{table}"'.encode()):
                text = repr(row).encode() + b"".join(bytes(part) for part in _bytes(row))
                if any(needle in text for needle in needles):
                    found.append(f"{table}: {row!r}"[:2000])
    return found


def _bytes(row: Any) -> list[bytes]:
    return [bytes(part) for part in row if isinstance(part, bytes | memoryview)]


@pytest.mark.compat(
    "langgraph.json", "encryption", "state, input, questions, store, crons and metadata are sealed in every table, and still work"
)
async def test_a_secret_stands_nowhere_in_the_database_and_everything_works(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None, headers=HEADERS) as client:
            thread = (await client.threads.create(metadata={"note": SECRET, "owner": "ann"}))["thread_id"]
            asked: Any = {"metadata": {"why": SECRET}, "config": {"configurable": {"flavour": SECRET}, "tags": [SECRET]}}
            await client.runs.wait(thread, "keeper", input=told("ask"), **asked)
            state: Any = await client.threads.get_state(thread)
            assert state["values"]["secret"] == SECRET
            assert state["interrupts"][0]["value"] == {"question": f"Is {SECRET} right?"}
            copied: Any = await client.threads.copy(thread)  # type: ignore[func-returns-value]
            for each in (thread, copied["thread_id"]):
                values: Any = await client.runs.wait(each, "keeper", command={"resume": f"yes, {SECRET}"})
                assert values["answer"] == f"yes, {SECRET}"
                assert [message["content"] for message in values["messages"]][1] == f"I keep {SECRET}"
            history = await client.threads.get_history(thread)
            assert len(history) >= 4
            again = await client.threads.create(metadata={"note": SECRET, "owner": "ann"})
            with pytest.raises(Exception, match="went wrong"):
                await client.runs.wait(again["thread_id"], "keeper", input=told("fail"), raise_error=True)
            await client.runs.wait(None, "keeper", input=told("plain"), context={"token": SECRET})
            assistant = await client.assistants.create("keeper", context={"token": SECRET}, metadata={"team": SECRET})
            await client.assistants.update(assistant["assistant_id"], metadata={"more": SECRET})
            kept: Any = await client.assistants.get(assistant["assistant_id"])
            assert (kept["context"], kept["metadata"]["team"], kept["metadata"]["more"]) == ({"token": SECRET}, SECRET, SECRET)
            await client.crons.create("keeper", schedule="0 0 1 1 *", input=told("plain"), metadata={"why": SECRET})
            crons: Any = await client.crons.search()
            assert crons[0]["payload"]["input"]["secret"] == SECRET
            item = await client.store.get_item(("notes",), "one")
            assert item is not None and item["value"]["text"] == SECRET
            by_topic: Any = await client.store.search_items(("notes",), filter={"topic": "plain"})
            assert len(by_topic["items"]) == 1
            await client.threads.update_state(thread, {"secret": f"{SECRET} two"})
            threads: Any = await client.threads.search(metadata={"owner": "ann"})
            assert {each["metadata"]["note"] for each in threads} == {SECRET}
            assert len(threads) == 3
            by_value = await client.threads.search(values={"topic": "fail"})
            assert [each["thread_id"] for each in by_value] == [again["thread_id"]]
            runs: Any = await client.runs.list(thread)
            assert runs[-1]["metadata"]["why"] == SECRET
            patched: Any = await client.threads.update(thread, metadata={"later": SECRET})
            assert patched["metadata"]["note"] == patched["metadata"]["later"] == SECRET
        clear = found_in(own_database_url)
    assert clear == []


async def test_a_wrong_key_is_an_error_that_says_so(own_database_url: str, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None) as client:
            thread = (await client.threads.create(metadata={"note": SECRET}))["thread_id"]
            await client.runs.wait(thread, "keeper", input=told("plain"))
            monkeypatch.setenv("TEST_ENCRYPTION_KEY", "another")
            with pytest.raises(Exception, match="decrypt") as raised:
                await client.threads.get_state(thread)
    assert SECRET not in str(raised.value)


async def test_the_context_of_the_request_is_kept_with_what_its_run_stores(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None, headers=HEADERS) as client:
            thread = (await client.threads.create())["thread_id"]
            await client.runs.wait(thread, "keeper", input=told("plain"))
    with psycopg.connect(own_database_url) as conn:
        marks = [
            conn.execute(statement, {"thread": thread}).fetchone()
            for statement in (
                """SELECT request->'input'->'__encryption__'->'context' FROM freehold.runs WHERE thread_id = %(thread)s""",
                """SELECT "values"->'__encryption__'->'context' FROM freehold.threads WHERE thread_id = %(thread)s""",
                "SELECT metadata->'__encryption__'->'context' FROM freehold.thread_checkpoints WHERE thread_id = %(thread)s",
            )
        ]
        blobs = conn.execute("SELECT state FROM freehold.thread_checkpoints WHERE thread_id = %s", (thread,)).fetchall()
    assert marks == [({"tenant": "blue", "user": "local"},)] * 3
    assert [bytes(state)[:80] for (state,) in blobs if b'"tenant":"blue"' not in bytes(state)] == []


async def test_a_run_that_is_given_back_goes_on_from_its_sealed_checkpoint(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS, worker={"drain_seconds": 0.1}) as url:
        async with get_client(url=url, api_key=None, headers=HEADERS) as client:
            thread = (await client.threads.create())["thread_id"]
            run = await client.runs.create(thread, "keeper", input=told("slow"), durability="sync")
            while (await client.threads.get_state(thread))["next"] != ["ask"]:
                await asyncio.sleep(0.05)
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None) as client:
            values = await client.runs.join(thread, run["run_id"])
    assert isinstance(values, dict)
    assert values["answer"] == "none"
    assert [message["content"][: len(SECRET)] for message in values["messages"]] == [SECRET, f"I keep {SECRET}"[: len(SECRET)]]


async def test_a_run_whose_key_is_gone_fails_and_keeps_nobody_else_waiting(
    own_database_url: str, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS, worker=False) as url:
        async with get_client(url=url, api_key=None) as client:
            thread = (await client.threads.create())["thread_id"]
            run = await client.runs.create(thread, "keeper", input=told("plain"))
    monkeypatch.setenv("TEST_ENCRYPTION_KEY", "another")
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None) as client:
            other = await client.runs.wait(None, "keeper", input=told("plain"))
            assert isinstance(other, dict)
            assert other["answer"] == "none"
    with psycopg.connect(own_database_url) as conn:
        assert conn.execute("SELECT status FROM freehold.runs WHERE run_id = %s", (run["run_id"],)).fetchone() == ("error",)


async def test_checkpoints_from_before_are_refused_and_not_taken_for_sealed_ones(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS) as url:
        async with get_client(url=url, api_key=None) as client:
            thread = (await client.threads.create())["thread_id"]
            await client.runs.wait(thread, "keeper", input=told("plain"))
            with psycopg.connect(own_database_url) as conn:
                conn.execute("UPDATE freehold.thread_checkpoints SET state = 'clear' WHERE thread_id = %s", (thread,))
            with pytest.raises(Exception, match="is not encrypted"):
                await client.threads.get_state(thread)


async def test_what_cannot_be_asked_of_sealed_values_is_refused_by_name(own_database_url: str, valkey: ValkeyServer) -> None:
    with serving(own_database_url, valkey.url, agents=AGENTS, worker=False) as url:
        async with get_client(url=url, api_key=None) as client:
            with pytest.raises(Exception, match="extract"):
                await client.threads.search(extract={"secret": "values.secret"})
            with pytest.raises(Exception, match="words"):
                await client.store.search_items(("notes",), query="tangerine")


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ("from langgraph_sdk import Encryption\nencryption = Encryption()\n", "no handler is registered"),
        ("encryption = 1\n", "expected a langgraph_sdk"),
        ("raise ValueError('no key')\n", "no key"),
    ],
)
async def test_nothing_starts_where_the_hooks_cannot_be_used(
    own_database_url: str, valkey: ValkeyServer, tmp_path: Path, hooks: str, message: str
) -> None:
    (tmp_path / "hooks.py").write_text(hooks)
    (tmp_path / "graphs.py").write_text((PROJECT.parent / "graphs.py").read_text())
    (tmp_path / "langgraph.json").write_text(PROJECT.read_text())
    settings = Settings.model_validate(
        {
            "database": {"url": own_database_url},
            "redis": {"url": valkey.url},
            "agents": {"config": tmp_path / "langgraph.json", "shipped": False},
        }
    )
    for opened in (open_server(settings), open_worker(settings)):
        with pytest.raises(FreeholdError, match=message):
            async with opened:
                pass
