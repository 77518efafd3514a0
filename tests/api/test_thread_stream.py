"""GET /threads/{id}/stream: all runs of a thread as one stream that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.api.streams import AGENTS, Frame, streamed
from tests.support.servers import ValkeyServer


@pytest.fixture(scope="module")
def urls(own_database_url: str, valkey: ValkeyServer) -> Iterator[tuple[str, str]]:
    """Two servers, one of them with a worker."""
    with (
        serving(own_database_url, valkey.url, agents=AGENTS) as one,
        serving(own_database_url, valkey.url, agents=AGENTS, worker=False) as other,
    ):
        yield one, other


@pytest.fixture(scope="module")
async def sdk(urls: tuple[str, str]) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=urls[0], api_key=None) as client:
        yield client


@pytest.fixture(scope="module")
async def https(urls: tuple[str, str]) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as one, httpx.AsyncClient(base_url=urls[1], timeout=30) as other:
        yield one, other


def is_done(frame: Frame) -> bool:
    return frame.event == "metadata" and frame.data.get("status") == "run_done"


async def new_thread(sdk: LangGraphClient) -> str:
    return str((await sdk.threads.create(graph_id="echo"))["thread_id"])


async def run(sdk: LangGraphClient, thread_id: str, graph: str = "echo", text: str = "x", modes: Any = "updates") -> str:
    return str((await sdk.runs.create(thread_id, graph, input={"text": text}, stream_mode=modes))["run_id"])


@pytest.mark.compat("Streams", "GET /threads/{id}/stream", "runs that start later appear by themselves, on every server")
async def test_runs_that_start_later_appear_on_every_server(
    sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    thread_id = await new_thread(sdk)
    async with (
        streamed(https[0], "GET", f"/threads/{thread_id}/stream") as here,
        streamed(https[1], "GET", f"/threads/{thread_id}/stream") as there,
    ):
        for text in ("one", "two"):
            run_id = await run(sdk, thread_id, text=text)
            for reader in (here, there):
                frames = await reader.until(is_done)
                assert [frame.event for frame in frames] == ["metadata", "updates", "updates", "metadata"]
                assert frames[0].data["run_id"] == frames[-1].data["run_id"] == run_id
                assert frames[2].data == {"second": {"log": [f"second:{text}"]}}
    numbers = [[frame.id.partition("-")[0] for frame in reader.frames] for reader in (here, there)]
    assert numbers[0] == numbers[1] == sorted(set(numbers[0]))


@pytest.mark.compat(
    "Streams", "GET /threads/{id}/stream: Last-Event-ID", "resumed after any event without gap or duplicate, over several runs"
)
async def test_a_thread_is_resumed_without_gap_or_duplicate(
    sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    thread_id = await new_thread(sdk)
    for text in ("12", "9"):
        await sdk.runs.join(thread_id, await run(sdk, thread_id, "slow", text, "custom"))
    await run(sdk, thread_id, "slow", "15", "custom")
    numbers: list[int] = []
    last = "-1"
    for attempt in range(40):
        async with streamed(https[attempt % 2], "GET", f"/threads/{thread_id}/stream", headers={"Last-Event-ID": last}) as reader:
            while len(numbers) < 36 and len(reader.frames) < 5:
                frame = await reader.next()
                last = frame.id
                if frame.event == "custom":
                    numbers.append(frame.data["number"])
        if len(numbers) >= 36:
            break
    assert numbers == [*range(12), *range(9), *range(15)]


@pytest.mark.compat("Streams", "GET /threads/{id}/stream: lifecycle", "only when runs begin and end")
async def test_lifecycle_tells_only_of_beginnings_and_ends(
    sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    thread_id = await new_thread(sdk)
    async with streamed(https[1], "GET", f"/threads/{thread_id}/stream", params={"stream_modes": "lifecycle"}) as reader:
        first, second = await run(sdk, thread_id), await run(sdk, thread_id, "fails")
        frames = [await reader.next() for _ in range(4)]
    assert [(frame.event, frame.data["run_id"], frame.data.get("status")) for frame in frames] == [
        ("metadata", first, None),
        ("metadata", first, "run_done"),
        ("metadata", second, None),
        ("metadata", second, "run_done"),
    ]


@pytest.mark.compat(
    "Streams", "GET /threads/{id}/stream: state_update", "a state written by hand is told, and told again to who resumes before it"
)
async def test_a_state_written_by_hand_is_told(sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "x"})
    both = {"stream_modes": ["run_modes", "state_update"]}
    async with streamed(https[1], "GET", f"/threads/{thread_id}/stream", params=both) as reader:
        await asyncio.sleep(0.3)  # until it listens, for what comes live; what came before is the next test's
        await sdk.threads.update_state(thread_id, {"text": "by hand"}, as_node="second")
        told = await reader.next()
        await run(sdk, thread_id, text="after")
        after = await reader.until(is_done)
    assert told.event == "state_update"
    assert told.data["state"]["values"]["text"] == "by hand"
    assert [frame.event for frame in after] == ["metadata", "updates", "updates", "metadata"]
    async with streamed(https[0], "GET", f"/threads/{thread_id}/stream", params=both, headers={"Last-Event-ID": told.id}) as again:
        assert [frame.event for frame in await again.until(is_done)] == ["metadata", "updates", "updates", "metadata"]
    async with streamed(https[0], "GET", f"/threads/{thread_id}/stream", params=both, headers={"Last-Event-ID": "-1"}) as whole:
        events = [frame.event for frame in [await whole.next() for _ in range(9)]]
    assert events.count("state_update") == 1


async def test_a_stream_begins_with_the_run_that_is_under_way(
    sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    thread_id = await new_thread(sdk)
    await sdk.runs.wait(thread_id, "echo", input={"text": "before"})
    under_way = await run(sdk, thread_id, "slow", "60", "custom")
    async with streamed(https[1], "GET", f"/threads/{thread_id}/stream") as reader:
        first = await reader.next()
        assert (first.event, first.data["run_id"]) == ("metadata", under_way)


async def test_a_delayed_run_does_not_hold_up_the_others(sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    thread_id = await new_thread(sdk)
    delayed = await sdk.runs.create(thread_id, "echo", input={"text": "late"}, after_seconds=1.5, stream_mode="updates")
    async with streamed(https[1], "GET", f"/threads/{thread_id}/stream") as reader:
        soon = await run(sdk, thread_id, text="soon")
        first, second = await reader.until(is_done), await reader.until(is_done)
    assert (first[0].data["run_id"], second[0].data["run_id"]) == (soon, delayed["run_id"])


@pytest.mark.compat("Streams", "threads.join_stream of the SDKs", "the official client reads it")
async def test_the_official_client_joins_a_thread(sdk: LangGraphClient) -> None:
    thread_id = await new_thread(sdk)
    run_id = await run(sdk, thread_id, "slow", "30", "custom")
    numbers = []
    async with asyncio.timeout(30):
        async for part in await sdk.threads.join_stream(thread_id, stream_mode=["run_modes"]):
            if part.event == "custom":
                numbers.append(part.data["number"])
            if part.data.get("status") == "run_done":
                assert part.data["run_id"] == run_id
                break
    assert numbers == list(range(30))


async def test_the_stream_ends_with_its_thread(sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    thread_id = await new_thread(sdk)
    async with streamed(https[0], "GET", f"/threads/{thread_id}/stream") as reader:
        await sdk.threads.delete(thread_id)
        with pytest.raises(EOFError):
            await reader.next()


async def test_a_quiet_stream_has_heartbeats(sdk: LangGraphClient, https: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    thread_id = await new_thread(sdk)
    async with streamed(https[0], "GET", f"/threads/{thread_id}/stream") as reader:
        waiting = asyncio.create_task(reader.next())
        async with asyncio.timeout(20):
            while not reader.comments:
                await asyncio.sleep(0.1)
        waiting.cancel()
