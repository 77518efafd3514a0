"""Plain chat, as curl and scripts use it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

Happening = tuple[str, dict[str, Any]]


async def streamed(http: httpx.AsyncClient, body: dict[str, Any]) -> list[Happening]:
    response = await http.post("/chat", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for frame in response.text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("path", ["/chat", "/api/agent/chat"])
async def test_an_answer_comes_with_the_thread_as_it_was_named(http: httpx.AsyncClient, path: str) -> None:
    name = f"test-{uuid4()} / with spaces, ümlauts and 'quotes'"
    answer = (await http.post(path, json={"message": "hello there", "thread_id": name})).json()
    assert (answer["response"], answer["thread_id"]) == ("hello there", name)
    assert answer["usage"] == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert (answer["tool_calls"], answer["sources"], answer["interrupts"]) == ([], [], [])


async def test_a_thread_remembers_and_a_new_one_does_not(http: httpx.AsyncClient) -> None:
    first = (await http.post("/chat", json={"message": "one"})).json()
    UUID(first["thread_id"])
    again = (await http.post("/chat", json={"message": "two", "thread_id": first["thread_id"]})).json()
    other = (await http.post("/chat", json={"message": "three"})).json()
    assert again["usage"]["input_tokens"] == 3  # the model was given both questions and the first answer
    assert other["usage"]["input_tokens"] == 1
    assert again["response"] == "two"


async def test_tool_calls_are_told_with_their_results(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/chat", json={"message": "calculate"})).json()
    call = {"id": "call-1", "name": "calculate", "args": {"expression": "42 * 17"}, "result": "714", "status": "success"}
    assert answer["tool_calls"] == [call]
    assert answer["response"] == "Done: 714"


async def test_a_stream_gives_tokens_tool_calls_and_the_whole_answer_at_the_end(http: httpx.AsyncClient) -> None:
    found = await streamed(http, {"message": "calculate", "thread_id": f"stream-{uuid4()}"})
    assert [name for name, _ in found] == ["tool_call", "tool_result", "token", "token", "done"]
    assert found[0][1] == {"id": "call-1", "name": "calculate", "args": {"expression": "42 * 17"}}
    assert found[1][1] == {"id": "call-1", "name": "calculate", "content": "714", "status": "success"}
    assert "".join(data["text"] for name, data in found if name == "token") == found[-1][1]["response"] == "Done: 714"


async def test_every_turn_is_recorded(http: httpx.AsyncClient, api_database_url: str) -> None:
    message = f"remember {uuid4()}"
    answer = (await http.post("/chat", json={"message": message})).json()
    await streamed(http, {"message": message, "thread_id": answer["thread_id"]})
    async with await psycopg.AsyncConnection.connect(api_database_url) as conn:
        rows = await (await conn.execute("SELECT message, response FROM freehold.conversations WHERE message = %s", (message,))).fetchall()
    assert rows == [(message, message)] * 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_turn_whose_client_left_is_recorded_once_it_has_ended(http: httpx.AsyncClient, api_database_url: str, stream: bool) -> None:
    message = f"think a little {uuid4()}"
    with suppress(httpx.ReadTimeout):
        async with http.stream("POST", "/chat", json={"message": message, "stream": stream}, timeout=0.3) as response:
            assert response.status_code == 200
            assert stream
    async with await psycopg.AsyncConnection.connect(api_database_url, autocommit=True) as conn, asyncio.timeout(20):
        statement = "SELECT response FROM freehold.conversations WHERE message = %s"
        while not (rows := await (await conn.execute(statement, (message,))).fetchall()):
            await asyncio.sleep(0.05)
    assert rows == [(message,)]


async def test_the_thread_is_an_ordinary_one(http: httpx.AsyncClient) -> None:
    response = await http.post("/chat", json={"message": "hi"})
    thread = (await http.get(response.headers["content-location"].split("/runs/")[0])).json()
    assert [message["content"] for message in thread["values"]["messages"]] == ["hi", "hi"]
