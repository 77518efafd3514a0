"""Quotas over HTTP: every way to start a run is refused with 429, and told when to come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import httpx
import pytest
from tests.api.people import somebody
from tests.api.serving import serving
from tests.support.servers import ValkeyServer
from websockets.asyncio.client import connect


@pytest.fixture(scope="module")
def api_database_url(own_database_url: str) -> str:
    """A database of its own."""
    return own_database_url


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    quotas = {"runs_per_minute": 3, "concurrent_runs": 2, "tokens_per_day": 6}
    with serving(api_database_url, valkey.url, server={"auth": "keys"}, quotas=quotas) as address:
        yield address


async def use_up(client: httpx.AsyncClient) -> None:
    """The runs of a minute."""
    for _ in range(3):
        assert (await client.post("/runs/wait", json={"assistant_id": "echo", "input": {"text": "x"}})).status_code == 200


WAYS: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]] = {
    "background": lambda client, thread: client.post(f"/threads/{thread}/runs", json={"assistant_id": "echo"}),
    "wait": lambda client, thread: client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo"}),
    "stream": lambda client, thread: client.post(f"/threads/{thread}/runs/stream", json={"assistant_id": "echo"}),
    "rollback": lambda client, thread: client.post(
        f"/threads/{thread}/runs", json={"assistant_id": "echo", "multitask_strategy": "rollback"}
    ),
    "without a thread": lambda client, thread: client.post("/runs", json={"assistant_id": "echo"}),
    "wait without a thread": lambda client, thread: client.post("/runs/wait", json={"assistant_id": "echo"}),
    "stream without a thread": lambda client, thread: client.post("/runs/stream", json={"assistant_id": "echo"}),
    "batch": lambda client, thread: client.post("/runs/batch", json=[{"assistant_id": "echo"}]),
    "MCP": lambda client, thread: client.post(
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}},
        headers={"accept": "application/json"},
    ),
    "A2A": lambda client, thread: client.post(
        "/a2a/talker",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "message/send",
            "params": {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hello"}]}},
        },
    ),
    "command": lambda client, thread: client.post(
        f"/threads/{thread}/commands", json={"id": 1, "method": "run.start", "params": {"assistant_id": "echo"}}
    ),
    "chat": lambda client, thread: client.post("/chat", json={"message": "hello"}),
    "OpenAI": lambda client, thread: client.post(
        "/v1/chat/completions", json={"model": "talker", "messages": [{"role": "user", "content": "x"}]}
    ),
}


@pytest.mark.compat("Tenants", "quotas", "every way to start a run is refused with 429 and Retry-After once the quota is used up")
async def test_every_way_to_start_a_run_is_refused_and_told_when_to_come_back(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"busy-{uuid4()}") as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        await use_up(client)
        for way, ask in WAYS.items():
            response = await ask(client, thread)
            assert response.status_code == 429, (way, response.text)
            assert 1 <= int(response.headers["retry-after"]) <= 60
            if way == "OpenAI":
                assert response.json()["error"]["type"] == "rate_limit_error"
            else:
                assert response.json()["code"] == "quota" and "runs_per_minute" in response.json()["hint"]
        assert (await client.get(f"/threads/{thread}/runs")).json() == []
        assert (await client.get(f"/threads/{thread}")).json()["status"] == "idle"
        assert (await client.delete(f"/threads/{thread}")).is_success  # who is over a quota can make room


async def test_a_refused_command_on_a_websocket_is_written_down_and_the_next_one_is_not_taken_for_it(
    url: str, api_database_url: str
) -> None:
    owner, thread = f"busy-{uuid4()}", str(uuid4())
    async with somebody(url, api_database_url, owner) as client, somebody(url, api_database_url, "boss", scopes=("admin",)) as boss:
        await use_up(client)
        await client.post("/threads", json={"thread_id": thread})
        headers = {"x-api-key": client.headers["x-api-key"]}
        async with connect(f"{url.replace('http', 'ws')}/threads/{thread}/stream/events", additional_headers=headers) as socket:
            for number, method in enumerate(("run.start", "agent.getTree")):
                await socket.send(json.dumps({"id": number, "method": method, "params": {"assistant_id": "echo"}}))
                answer = json.loads(await socket.recv())
                assert (answer["type"], answer["id"]) == ("error", number)
        async with asyncio.timeout(30):
            while len(entries := (await boss.get("/audit", params={"owner": owner})).json()) < 5:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        entries = (await boss.get("/audit", params={"owner": owner})).json()
    assert [(entry["action"], entry["status"]) for entry in entries[:2]] == [("threads.create_run", 429), ("threads.create", 200)]
    assert len(entries) == 5


async def test_a_cron_skips_the_time_it_may_not_run_and_says_why(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"busy-{uuid4()}") as client:
        await use_up(client)
        made = (await client.post("/runs/crons", json={"assistant_id": "echo", "schedule": "* * * * * *"})).json()
        async with asyncio.timeout(30):
            while not (cron := (await client.get(f"/runs/crons/{made['cron_id']}")).json())["last_error"]:
                await asyncio.sleep(0.1)
        await client.delete(f"/runs/crons/{made['cron_id']}")
        assert "3 runs a minute were started by you" in cron["last_error"]
        assert cron["enabled"] and cron["last_run_id"] is None and cron["next_run_date"]


async def test_a_batch_counts_as_its_runs_and_starts_all_or_none(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"eager-{uuid4()}") as client:
        refused = await client.post("/runs/batch", json=[{"assistant_id": "echo"}] * 3)
        assert refused.status_code == 429 and "2 runs are waiting or being executed by you" in refused.json()["detail"]
        assert (await client.post("/threads/search", json={})).json() == []


async def test_answers_to_questions_are_runs_too_and_none_is_taken_where_one_is_too_many(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"asked-{uuid4()}") as client:
        threads = [(await client.post("/threads", json={})).json()["thread_id"] for _ in range(3)]
        for thread in threads:
            await client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "asks", "input": {"text": "x"}})
        waiting = (await client.post("/inbox/search", json={})).json()
        assert {item["thread_id"] for item in waiting} == set(threads)
        given = [{"thread_id": item["thread_id"], "interrupt_id": item["interrupt_id"], "response": "red"} for item in waiting]
        response = await client.post("/inbox/respond", json={"responses": given})
        assert response.status_code == 429, response.text
        assert len((await client.post("/inbox/search", json={})).json()) == 3


async def test_others_are_not_refused_for_it(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"busy-{uuid4()}") as busy, somebody(url, api_database_url, f"calm-{uuid4()}") as calm:
        await use_up(busy)
        assert (await calm.post("/runs/wait", json={"assistant_id": "echo", "input": {"text": "x"}})).status_code == 200


async def test_of_many_at_once_as_many_pass_as_may_run_at_the_same_time(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"eager-{uuid4()}") as client:
        answers = await asyncio.gather(*(client.post("/runs", json={"assistant_id": "waits", "input": {"text": "x"}}) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert "2 runs are waiting or being executed by you" in refused.json()["detail"]
        for answer in answers:
            if answer.status_code == 200:
                run = answer.json()
                await client.post(f"/threads/{run['thread_id']}/runs/{run['run_id']}/cancel", params={"wait": True})


async def test_a_batch_that_is_one_too_many_is_none_at_all(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"eager-{uuid4()}") as client:
        batch = [{"assistant_id": "echo", "on_completion": "keep", "after_seconds": 3600}] * 3
        response = await client.post("/runs/batch", json=batch)
        assert (response.status_code, "concurrent_runs" in response.json()["hint"]) == (429, True)
        assert (await client.post("/threads/count", json={})).json() == 0


async def test_tokens_that_models_used_are_counted_when_a_run_has_ended(url: str, api_database_url: str) -> None:
    async with somebody(url, api_database_url, f"wordy-{uuid4()}") as client:
        response = await client.post("/chat", json={"message": "one two three four five six seven"})
        assert response.status_code == 200, response.text
        while (response := await client.post("/chat", json={"message": "more"})).status_code == 200:
            await asyncio.sleep(0.05)  # it is counted right after the run has ended
        assert "6 tokens were used today by you" in response.json()["detail"], response.text
        assert int(response.headers["retry-after"]) > 60 or "tokens" in response.json()["detail"]


async def test_while_valkey_is_away_runs_are_let_in(api_database_url: str) -> None:
    away = "redis://127.0.0.1:1"
    quotas = {"runs_per_minute": 1, "tokens_per_day": 1}
    with serving(api_database_url, away, worker=False, server={"auth": "keys"}, quotas=quotas) as address:
        async with somebody(address, api_database_url, f"lucky-{uuid4()}") as client:
            for _ in range(3):
                assert (await client.post("/runs", json={"assistant_id": "echo"})).status_code == 200
            metrics = (await client.get("/metrics")).text
    assert "freehold_quota_unchecked_total" in metrics
