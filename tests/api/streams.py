"""What the tests of streams share: a server over graphs worth streaming, and readers of its raw streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

PROJECT = Path(__file__).parent / "streaming" / "langgraph.json"
AGENTS = {"config": PROJECT, "shipped": False}

#: No stream of a test is silent for longer.
SECONDS = 20

Json = dict[str, Any]


@dataclass
class Frame:
    """One server-sent event."""

    event: str = ""
    data: Any = None
    id: str = ""


@dataclass
class Reader:
    """Frames of an open stream, as far as they were read."""

    lines: AsyncIterator[str]
    frames: list[Frame] = field(default_factory=list)
    comments: int = 0

    async def next(self) -> Frame:
        frame = Frame()
        async with asyncio.timeout(SECONDS):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    setattr(frame, name, json.loads(value) if name == "data" else value)
                elif frame.event:
                    self.frames.append(frame)
                    return frame
        raise EOFError("the stream ended")

    async def until(self, found: Callable[[Frame], bool]) -> list[Frame]:
        """Everything up to and with the first that matches."""
        read = [await self.next()]
        while not found(read[-1]):
            read.append(await self.next())
        return read


@asynccontextmanager
async def streamed(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> AsyncIterator[Reader]:
    """An open stream."""
    async with http.stream(method, path, **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reader(response.aiter_lines())


def new_thread_id() -> str:
    """An id a client made."""
    return str(uuid4())


async def command(http: httpx.AsyncClient, thread_id: str, method: str, params: Json | None = None, number: int = 1) -> Json:
    """The answer to a command."""
    response = await http.post(f"/threads/{thread_id}/commands", json={"id": number, "method": method, "params": params or {}})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    assert answer["id"] == number
    return answer


async def started(http: httpx.AsyncClient, thread_id: str, graph: str, graph_input: Json, **more: Any) -> Json:
    """What starting a run gives."""
    answer = await command(http, thread_id, "run.start", {"assistant_id": graph, "input": graph_input, **more})
    assert answer["type"] == "success", answer
    return answer


def root(frame: Frame, *kinds: str) -> bool:
    """Whether an event says that the run itself began or ended like this."""
    event = frame.data
    return bool(frame.event == "lifecycle" and not event["params"]["namespace"] and event["params"]["data"]["event"] in kinds)


def over(frame: Frame) -> bool:
    """Whether an event is a run's last."""
    return root(frame, "completed", "failed", "interrupted")


def data_of(frames: list[Frame], method: str, namespace: list[str] | None = None) -> list[Any]:
    """Data of the events of a method, of the root where no namespace is given."""
    return [
        frame.data["params"]["data"] for frame in frames if frame.event == method and frame.data["params"]["namespace"] == (namespace or [])
    ]
