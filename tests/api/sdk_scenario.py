"""What people do with the Python SDK, in words that every version of it understands. Run by test_old_sdks.py as a program of its own."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Any


async def main(url: str) -> None:
    from langgraph_sdk import get_client

    client: Any = get_client(url=url, api_key="none")
    assistants = await client.assistants.search(graph_id="echo")
    assert assistants[0]["graph_id"] == "echo", assistants
    thread = (await client.threads.create(metadata={"by": "an old client"}))["thread_id"]
    parts = [part async for part in client.runs.stream(thread, "echo", input={"text": "a"}, stream_mode=["values", "updates"])]
    assert parts[0].event == "metadata", parts
    assert parts[-1].data["log"] == ["first:a:plain", "second:a"], parts
    values = await client.runs.wait(thread, "echo", input={"text": "b"}, config={"configurable": {"tone": "kind"}})
    assert values["log"][-2:] == ["first:b:kind", "second:b"], values
    state = await client.threads.get_state(thread)
    assert state["values"] == values, state
    await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="second")
    history = await client.threads.get_history(thread, limit=3)
    assert history[0]["values"]["log"][-1] == "by hand", history
    found = await client.threads.search(metadata={"by": "an old client"}, limit=50)
    assert thread in [one["thread_id"] for one in found], found
    run = await client.runs.create(thread, "slow", input={"text": "5"}, stream_mode="custom")
    joined = [part async for part in client.runs.join_stream(thread, run["run_id"], stream_mode="custom")]
    assert any(part.event == "custom" for part in joined), joined
    await client.runs.join(thread, run["run_id"])
    endless = await client.runs.create(thread, "waits", input={"text": "x"})
    await client.runs.cancel(thread, endless["run_id"], wait=True)
    assert (await client.runs.get(thread, endless["run_id"]))["status"] == "interrupted"
    asked = (await client.threads.create())["thread_id"]
    await client.runs.wait(asked, "asks", input={"text": "?"})
    assert (await client.threads.get_state(asked))["next"] == ["ask"]
    assert (await client.runs.wait(asked, "asks", command={"resume": "red"}))["log"] == ["answer:red"]
    await client.store.put_item(["old"], "key", {"value": 1})
    assert (await client.store.get_item(["old"], "key"))["value"] == {"value": 1}
    await client.threads.delete(thread)
    sys.stdout.write(f"{version('langgraph-sdk')} works\n")


asyncio.run(main(sys.argv[1]))
