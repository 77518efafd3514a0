"""The load client, a process of its own so that its CPU can be told apart: reads one JSON task a line, answers with one.

    {"do": "threads", "url": "http://127.0.0.1:1", "count": 100}                 -> {"threads": [...]}
    {"do": "wait", "urls": [...], "threads": [...], "concurrency": 16, "limit": 8.0} -> {"seconds_each": [...], "seconds", "cpu", "errors"}
    {"do": "stream", ...}                                                        the same, until the first event of the graph

    {"do": "talk", "urls": [...], "threads": [...], "turns": 3, "spread": 1.0}    the same for every turn of conversations side by side
    {"do": "model", "url": ..., "lanes": 100, "turns": 3, "spread": 1.0}          the same for the model's two answers of a turn alone

With `--in-process ours|stock DATABASE_URL [AGENT_FILE]` it is the floor instead: the same graph and saver with nothing between.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

INPUT = {"messages": [{"role": "user", "content": "hello"}]}
#: Messages of a turn of a conversation.
EACH_TURN = ["human", "ai", "tool", "ai"]
TIMEOUT_SECONDS = 60.0
#: Sent with every request; asked for by the system that needs keys.
KEY = "fh_of-the-benchmark"
CLIENTS = 32

#: Does one operation on a thread; gives the moment it is done, or None where the answer is wrong.
One = Callable[[str, int], Awaitable[float | None]]
Do = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def question(place: int) -> dict[str, Any]:
    """Input of a turn."""
    return {"messages": [{"role": "user", "content": f"question {place}: add 2 and 3"}]}


async def load(one: One, threads: list[str], concurrency: int, limit: float) -> dict[str, Any]:
    """Run `one` for every thread, `concurrency` at a time; none is begun after `limit` seconds."""
    waiting = iter(enumerate(threads))
    taken: list[float] = []
    errors = 0

    async def lane() -> None:
        nonlocal errors
        for number, thread in waiting:
            began = time.perf_counter()
            if began > started + limit:
                return
            done = await one(thread, number)
            if done is None:
                errors += 1
            else:
                taken.append(done - began)

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return {"seconds_each": taken, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "errors": errors}


async def side_by_side(lanes: int, turns: int, spread: float, turn: Callable[[int, int], Awaitable[bool]]) -> dict[str, Any]:
    """`lanes` sequences of `turns`, their beginnings spread over `spread` seconds as those of people are."""
    taken: list[float] = []
    errors = 0

    async def lane(number: int) -> None:
        nonlocal errors
        await asyncio.sleep(spread * number / lanes)
        for place in range(turns):
            began = time.perf_counter()
            if await turn(number, place):
                taken.append(time.perf_counter() - began)
            else:
                errors += 1

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(lane(number) for number in range(lanes)))
    return {"seconds_each": taken, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "errors": errors}


class OverHttp:
    """Tasks through a server's API."""

    def __init__(self, clients: Sequence[httpx.AsyncClient]) -> None:
        self._client = clients[0]
        #: Used in turn: looking for a free connection costs a client as much as it has of them.
        self._clients = clients

    async def do(self, task: dict[str, Any]) -> dict[str, Any]:
        match task["do"]:
            case "threads":
                return {"threads": await self._threads(task["url"], task["count"])}
            case "talk":
                turn = partial(self._talk, task["urls"], task["threads"])
                return await side_by_side(len(task["threads"]), task["turns"], task["spread"], turn)
            case "model":
                return await side_by_side(task["lanes"], task["turns"], task["spread"], partial(self._ask_model, task["url"]))
            case kind:
                one = partial({"wait": self._wait, "stream": self._stream}[kind], task["urls"])
                return await load(one, task["threads"], task["concurrency"], task["limit"])

    async def _threads(self, url: str, count: int) -> list[str]:
        room = asyncio.Semaphore(16)

        async def made() -> str:
            async with room:
                response = await self._client.post(f"{url}/threads", json={})
                return str(response.raise_for_status().json()["thread_id"])

        return await asyncio.gather(*(made() for _ in range(count)))

    async def _wait(self, urls: list[str], thread: str, number: int) -> float | None:
        body = {"assistant_id": "agent", "input": INPUT}
        try:
            client = self._clients[number % len(self._clients)]
            response = await client.post(f"{urls[number % len(urls)]}/threads/{thread}/runs/wait", json=body)
            right = response.status_code == 200 and response.json()["messages"][-1]["content"] == "done"
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            right = False
        return time.perf_counter() if right else None

    async def _stream(self, urls: list[str], thread: str, number: int) -> float | None:
        """Until the first state; the stream is read to its end all the same, so that the next begins on an idle server."""
        body = {"assistant_id": "agent", "input": INPUT, "stream_mode": ["values"]}
        first: float | None = None
        try:
            async for line in self._lines(f"{urls[number % len(urls)]}/threads/{thread}/runs/stream", body):
                if first is None and line.startswith("event:") and line[6:].strip() == "values":
                    first = time.perf_counter()
        except httpx.HTTPError:
            return None
        return first

    async def _talk(self, urls: list[str], threads: list[str], lane: int, place: int) -> bool:
        """One turn with a tool call; right when the thread then holds every message of every turn once."""
        body = {
            "assistant_id": "agent",
            "input": question(place),
            "stream_mode": ["messages-tuple", "values"],
        }
        last = ""
        try:
            async for line in self._lines(f"{urls[(lane + place) % len(urls)]}/threads/{threads[lane]}/runs/stream", body):
                last = line if line.startswith("data:") else last
            kinds = [message["type"] for message in json.loads(last[5:])["messages"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        return kinds == EACH_TURN * (place + 1)

    async def _ask_model(self, url: str, lane: int, place: int) -> bool:
        """The two answers of a turn from the model itself."""
        question = {"role": "user", "content": f"question {place} of {lane}: add 2 and 3"}
        call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        answered = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "5"}]
        try:
            for messages in ([question], [question, *answered]):
                body = {"model": "scripted", "stream": True, "messages": messages}
                async for _ in self._lines(f"{url}/chat/completions", body):
                    pass
        except httpx.HTTPError:
            return False
        return True

    async def _lines(self, url: str, body: dict[str, Any]) -> AsyncIterator[str]:
        async with self._client.stream("POST", url, json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                yield line


def graph_operations(graph: Any) -> Do:
    """The same tasks on a graph in this process."""

    def config(thread: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": thread}}

    async def waiting(thread: str, _: int) -> float | None:
        await graph.ainvoke(INPUT, config(thread), durability="async")
        return time.perf_counter()

    async def streaming(thread: str, _: int) -> float | None:
        first: float | None = None
        async for _part in graph.astream(INPUT, config(thread), stream_mode="values", durability="async"):
            first = first or time.perf_counter()
        return first

    async def talking(threads: list[str], lane: int, place: int) -> bool:
        values: dict[str, Any] = {}
        modes = ["messages", "values"]
        async for mode, part in graph.astream(question(place), config(threads[lane]), stream_mode=modes, durability="async"):
            values = part if mode == "values" else values
        return [message.type for message in values["messages"]] == EACH_TURN * (place + 1)

    kinds = {"wait": waiting, "stream": streaming}

    async def do(task: dict[str, Any]) -> dict[str, Any]:
        if task["do"] == "talk":
            return await side_by_side(len(task["threads"]), task["turns"], task["spread"], partial(talking, task["threads"]))
        if task["do"] == "threads":
            return {"threads": [str(uuid4()) for _ in range(task["count"])]}
        return await load(kinds[task["do"]], task["threads"], task["concurrency"], task["limit"])

    return do


async def answer(do: Do) -> None:
    """Tasks from stdin until it ends."""
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await do(json.loads(line))), flush=True)


async def main() -> None:
    if sys.argv[1:2] == ["--in-process"]:
        from benchmarks.engine.floor import opened

        async with opened(*sys.argv[2:4], *(Path(name).read_text() for name in sys.argv[4:5])) as graph:
            await answer(graph_operations(graph))
        return
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    headers = {"x-api-key": KEY}
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, limits=limits, verify=False) for _ in range(CLIENTS)]
        await answer(OverHttp([await stack.enter_async_context(client) for client in clients]).do)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
