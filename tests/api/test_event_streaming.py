"""Event streaming over HTTP: commands, and the events of a thread as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.api.serving import serving
from tests.api.streams import AGENTS, Frame, Json, command, data_of, new_thread_id, over, root, started, streamed
from tests.support.servers import ValkeyServer

ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]


@pytest.fixture(scope="module")
def urls(own_database_url: str, valkey: ValkeyServer) -> Iterator[tuple[str, str]]:
    """Two servers, one of them with a worker."""
    with (
        serving(own_database_url, valkey.url, agents=AGENTS) as one,
        serving(own_database_url, valkey.url, agents=AGENTS, worker=False) as other,
    ):
        yield one, other


@pytest.fixture(scope="module")
async def http(urls: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
async def elsewhere(urls: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=urls[1], timeout=30) as client:
        yield client


async def events(http: httpx.AsyncClient, thread_id: str, channels: list[str] = ALL, runs: int = 1, **asked: Any) -> list[Frame]:
    """What a subscription gets until so many runs have ended."""
    found: list[Frame] = []
    async with streamed(http, "POST", f"/threads/{thread_id}/stream/events", json={"channels": channels, **asked}) as reader:
        for _ in range(runs):
            found += await reader.until(over)
    return found


async def told(http: httpx.AsyncClient, graph: str, given: Json) -> list[Frame]:
    """All events of one run of a graph."""
    thread_id = new_thread_id()
    await started(http, thread_id, graph, given)
    return await events(http, thread_id)


def said(text: str) -> Json:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.compat(
    "Event streaming",
    "POST /threads/{thread_id}/commands: run.start",
    "makes the thread with the client's id and starts a run that streams everything",
)
async def test_a_run_is_started_on_a_thread_the_client_named(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    answer = await started(http, thread_id, "echo", {"text": "a"}, metadata={"tab": 1}, config={"configurable": {"tone": "loud"}})
    run = (await http.get(f"/threads/{thread_id}/runs/{answer['result']['run_id']}")).json()
    assert (run["thread_id"], run["metadata"]) == (thread_id, {"tab": 1})
    found = await events(http, thread_id)
    assert data_of(found, "values")[-1]["log"] == ["first:a:loud", "second:a"]


@pytest.mark.compat("Event streaming", "POST /threads/{thread_id}/stream/events: channel values", "the state after each step")
@pytest.mark.compat("Event streaming", "channel updates", "what each node returned")
@pytest.mark.compat("Event streaming", "channel lifecycle", "the run and its subgraphs begin and end, with their names")
@pytest.mark.compat("Event streaming", "channel tasks", "every task begins and ends, of subgraphs too")
@pytest.mark.compat("Event streaming", "channel checkpoints", "id, parent, step and source of each checkpoint")
async def test_a_run_tells_its_steps_and_those_of_subgraphs(http: httpx.AsyncClient) -> None:
    found = await told(http, "nested", {"text": "n"})
    inner = next(frame.data["params"]["namespace"] for frame in found if frame.data["params"]["namespace"])
    assert [list(update) for update in data_of(found, "updates")] == [["before"], ["inner"], ["after"]]
    assert [list(update) for update in data_of(found, "updates", inner)] == [["deep"]]
    assert data_of(found, "values")[-1]["log"][-1] == "second:n"
    assert [life["event"] for life in data_of(found, "lifecycle")] == ["running", "completed"]
    assert [(life["event"], life["graph_name"]) for life in data_of(found, "lifecycle", inner)] == [
        ("started", "inner"),
        ("completed", "inner"),
    ]
    assert [("result" in task, task["name"]) for task in data_of(found, "tasks", inner)] == [(False, "deep"), (True, "deep")]
    checkpoints = data_of(found, "checkpoints")
    assert [point["step"] for point in checkpoints] == [-1, 0, 1, 2, 3]
    assert [point["parent_id"] for point in checkpoints[1:]] == [point["id"] for point in checkpoints[:-1]]
    assert checkpoints[0]["source"] == "input"


async def test_events_are_numbered_and_shaped_as_the_protocol_has_them(http: httpx.AsyncClient) -> None:
    found = await told(http, "tooled", said("add"))
    for frame in found:
        event = frame.data
        assert event["type"] == "event"
        assert (frame.event, frame.id) == (event["method"], str(event["seq"]))
        assert event["params"]["timestamp"] > 1_700_000_000_000
    assert [frame.data["seq"] for frame in found] == sorted({frame.data["seq"] for frame in found})
    assert len({frame.data["event_id"] for frame in found}) == len(found)
    assert found[-1].data["seq"] < 2**53, "JavaScript cannot count so far"


@pytest.mark.compat("Event streaming", "channel messages", "content blocks from start to finish, deltas between, usage at the end")
async def test_messages_come_in_content_blocks(http: httpx.AsyncClient) -> None:
    messages = data_of(await told(http, "talker", said("one two three")), "messages")
    assert [event["event"] for event in messages] == [
        "message-start", "content-block-start", *["content-block-delta"] * 3, "content-block-finish", "message-finish",
    ]  # fmt: skip
    assert (messages[0]["role"], messages[0]["metadata"]["langgraph_node"]) == ("ai", "talk")
    assert {event["message_id"] for event in messages[1:]} == {messages[0]["id"]}
    assert "".join(event["delta"]["text"] for event in messages if event["event"] == "content-block-delta") == "one two three"
    assert messages[-1]["usage"]["output_tokens"] == 3


@pytest.mark.compat("Event streaming", "channel tools", "tool-started, tool-finished and tool-error by the call's id")
async def test_tools_are_told(http: httpx.AsyncClient) -> None:
    tools = data_of(await told(http, "tooled", said("add")), "tools")
    assert tools[0] == {"event": "tool-started", "tool_call_id": "call-7", "tool_name": "add", "input": {"a": 1, "b": 2}}
    assert (tools[1]["event"], tools[1]["tool_call_id"], tools[1]["output"]["content"]) == ("tool-finished", "call-7", "3")
    failed = data_of(await told(http, "tooled", said("divide")), "tools")
    assert [event["event"] for event in failed] == ["tool-started", "tool-error"]


@pytest.mark.compat("Event streaming", "channel custom", "what nodes write arrives as payload")
@pytest.mark.compat("Event streaming", "channel custom:NAME", "channels of a graph's own transformers, each to be chosen by name")
async def test_custom_events_and_channels_of_transformers_arrive(http: httpx.AsyncClient) -> None:
    assert data_of(await told(http, "tooled", said("add")), "custom") == [{"payload": {"adding": [1, 2]}}]
    thread_id = new_thread_id()
    await started(http, thread_id, "counted", {"text": "x"})
    assert data_of(await events(http, thread_id, ["custom", "lifecycle"]), "custom") == [
        {"name": "counts", "payload": {"seen": 1}},
        {"name": "counts", "payload": {"seen": 2}},
    ]
    assert len(data_of(await events(http, thread_id, ["custom:counts", "lifecycle"]), "custom")) == 2
    assert data_of(await events(http, thread_id, ["custom:other", "lifecycle"]), "custom") == []


async def test_a_run_that_fails_says_so(http: httpx.AsyncClient) -> None:
    last = (await told(http, "fails", {"text": "x"}))[-1]
    assert last.data["params"]["data"] == {"event": "failed", "graph_name": "fails", "error": "the graph failed on purpose"}


@pytest.mark.compat("Event streaming", "channel input", "an interrupt is input.requested with its id and payload")
@pytest.mark.compat(
    "Event streaming", "POST /threads/{id}/commands: input.respond", "an answer resumes the run; one that was used is no_such_interrupt"
)
async def test_an_interrupt_is_told_and_answered_once(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await started(http, thread_id, "asks", {"text": "x"})
    found = await events(http, thread_id)
    assert root(found[-1], "interrupted")
    (asked,) = data_of(found, "input.requested")
    assert asked["payload"] == {"question": "Which colour?"}
    answers = [
        command(http, thread_id, "input.respond", {"interrupt_id": asked["interrupt_id"], "response": colour}) for colour in ("red", "blue")
    ]
    outcomes = await asyncio.gather(*answers)
    assert sorted(outcome["type"] for outcome in outcomes) == ["error", "success"]
    assert [outcome["error"] for outcome in outcomes if outcome["type"] == "error"] == ["no_such_interrupt"]
    rest = await events(http, thread_id, since=found[-1].data["seq"])
    assert data_of(rest, "values")[-1]["log"] in (["answer:red"], ["answer:blue"])
    late = await command(http, thread_id, "input.respond", {"interrupt_id": asked["interrupt_id"], "response": "green"})
    assert late["error"] == "no_such_interrupt"


@pytest.mark.compat("Event streaming", "POST /threads/{id}/commands: input.respond, responses", "several interrupts are answered at once")
async def test_several_interrupts_are_answered_at_once(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await started(http, thread_id, "asks_twice", {"text": "x"})
    found = await events(http, thread_id)
    asked = {event["payload"]: event["interrupt_id"] for event in data_of(found, "input.requested")}
    answers = [{"interrupt_id": asked["one?"], "response": 1}, {"interrupt_id": asked["two?"], "response": 2}]
    assert (await command(http, thread_id, "input.respond", {"responses": answers}))["type"] == "success"
    rest = await events(http, thread_id, since=found[-1].data["seq"])
    assert sorted(data_of(rest, "values")[-1]["log"]) == ["one:1", "two:2"]


@pytest.mark.compat("Event streaming", "POST /threads/{id}/commands: input.respond, update", "the state is changed in the same step")
async def test_an_answer_may_carry_an_update(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await started(http, thread_id, "asks", {"text": "x"})
    found = await events(http, thread_id)
    (asked,) = data_of(found, "input.requested")
    params = {"interrupt_id": asked["interrupt_id"], "response": "blue", "update": {"text": "changed"}}
    assert (await command(http, thread_id, "input.respond", params))["type"] == "success"
    rest = await events(http, thread_id, since=found[-1].data["seq"])
    assert data_of(rest, "values")[-1] == {"text": "changed", "log": ["answer:blue"]}


async def test_an_interrupt_within_a_subgraph_is_told_where_it_is(http: httpx.AsyncClient) -> None:
    found = await told(http, "asks_within", {"text": "x"})
    (asked,) = [frame.data["params"]["namespace"] for frame in found if frame.event == "input.requested"]
    assert asked[0].startswith("inner:")


@pytest.mark.compat("Event streaming", "POST /threads/{id}/commands: agent.getTree", "the run and its subgraphs with their status")
async def test_the_tree_shows_the_agents_of_a_run(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    assert (await command(http, thread_id, "agent.getTree"))["type"] == "error"
    await started(http, thread_id, "nested", {"text": "x"})
    await events(http, thread_id)
    tree = (await command(http, thread_id, "agent.getTree"))["result"]["tree"]
    assert (tree["namespace"], tree["status"], tree["graph_name"]) == ([], "completed", "nested")
    (child,) = tree["children"]
    assert (child["status"], child["graph_name"], child["namespace"][0].partition(":")[0]) == ("completed", "inner", "inner")


@pytest.mark.compat(
    "Event streaming", "POST /threads/{id}/commands: state.get, input.inject, others", "an error answer with status 200", refused=True
)
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("state.get", {"namespace": []}, "unknown_command"),
        ("input.inject", {}, "unknown_command"),
        ("subscription.subscribe", {"channels": ["values"]}, "not_supported"),
        ("run.start", {}, "invalid_argument"),
        ("run.start", {"assistant_id": "nobody"}, "invalid_argument"),
        ("run.start", {"assistant_id": "echo", "multitask_strategy": "perhaps"}, "invalid_argument"),
        ("input.respond", {}, "invalid_argument"),
        ("input.respond", {"interrupt_id": "a", "responses": [{"interrupt_id": "b"}]}, "invalid_argument"),
        ("input.respond", {"interrupt_id": "a", "response": 1}, "no_such_interrupt"),
        ("agent.getTree", {"run_id": "0199c0de-0000-7000-8000-00000000dead"}, "no_such_run"),
        ("agent.getTree", {"run_id": "x"}, "invalid_argument"),
    ],
)
async def test_a_command_that_cannot_be_done_says_why(http: httpx.AsyncClient, method: str, params: Json, code: str) -> None:
    thread_id = new_thread_id()
    await http.post("/threads", json={"thread_id": thread_id})
    answer = await command(http, thread_id, method, params, number=9)
    assert (answer["type"], answer["error"]) == ("error", code), answer
    assert answer["message"]


@pytest.mark.compat(
    "Event streaming",
    "POST /threads/{id}/stream/events: since, Last-Event-ID",
    "resumed on another server after any event, over several runs, each event once",
)
async def test_a_stream_is_resumed_anywhere_without_gap_or_duplicate(http: httpx.AsyncClient, elsewhere: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    for text in ("a", "b"):
        await started(http, thread_id, "echo", {"text": text})
    whole = await events(http, thread_id, runs=2)
    pieces: list[Frame] = []
    while len(pieces) < len(whole):
        server = (http, elsewhere)[len(pieces) % 2]
        last = pieces[-1].data if pieces else None
        by_header = len(pieces) % 4 < 2 and last
        body = {"channels": ALL, **({"since": last["seq"]} if last and not by_header else {})}
        headers = {"Last-Event-ID": last["event_id"]} if by_header and last else {}
        async with streamed(server, "POST", f"/threads/{thread_id}/stream/events", json=body, headers=headers) as reader:
            for _ in range(min(3, len(whole) - len(pieces))):
                pieces.append(await reader.next())
    assert [frame.data for frame in pieces] == [frame.data for frame in whole]


@pytest.mark.compat("Event streaming", "two tabs", "both see every run, whichever started it, on different servers")
async def test_two_tabs_see_the_same(http: httpx.AsyncClient, elsewhere: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await started(http, thread_id, "echo", {"text": "a"})
    path, body = f"/threads/{thread_id}/stream/events", {"channels": ["values", "lifecycle"]}
    async with streamed(http, "POST", path, json=body) as one, streamed(elsewhere, "POST", path, json=body) as other:
        await one.until(over)
        await started(elsewhere, thread_id, "echo", {"text": "b"})
        await one.until(over)
        await other.until(over)
        await other.until(over)
    assert [frame.data for frame in one.frames] == [frame.data for frame in other.frames]


@pytest.mark.compat("Event streaming", "namespaces, depth", "only what is below the namespaces, so far down")
async def test_namespaces_and_depth_choose(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await started(http, thread_id, "nested", {"text": "n"})
    await events(http, thread_id)
    shallow = await events(http, thread_id, namespaces=[[]], depth=0)
    assert {tuple(frame.data["params"]["namespace"]) for frame in shallow} == {()}
    async with streamed(
        http, "POST", f"/threads/{thread_id}/stream/events", json={"channels": ["updates"], "namespaces": [["inner"]]}
    ) as reader:
        assert list((await reader.next()).data["params"]["data"]) == ["deep"]


@pytest.mark.compat(
    "Event streaming", "runs started otherwise", "how they go, their values, updates and custom events, as far as they stream them"
)
async def test_a_run_of_the_classic_kind_is_seen_too(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    await http.post("/threads", json={"thread_id": thread_id})
    body = {"assistant_id": "asks", "input": {"text": "x"}, "stream_mode": ["values", "custom"]}
    run_id = (await http.post(f"/threads/{thread_id}/runs", json=body)).json()["run_id"]
    await http.get(f"/threads/{thread_id}/runs/{run_id}/join")
    found = await events(http, thread_id)
    assert [frame.event for frame in found] == ["lifecycle", "values", "values", "input.requested", "lifecycle"]
    assert root(found[0], "running")
    assert root(found[-1], "interrupted")
    again = await events(http, thread_id, since=found[0].data["seq"])
    assert [frame.data for frame in again] == [frame.data for frame in found[1:]]


async def test_a_classic_client_may_join_a_run_that_was_started_by_a_command(http: httpx.AsyncClient) -> None:
    thread_id = new_thread_id()
    run_id = (await started(http, thread_id, "echo", {"text": "x"}))["result"]["run_id"]
    assert (await http.get(f"/threads/{thread_id}/runs/{run_id}/join")).json()["log"] == ["first:x:plain", "second:x"]
    async with http.stream("GET", f"/threads/{thread_id}/runs/{run_id}/stream") as response:
        lines = [line async for line in response.aiter_lines()]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "metadata"
    assert {"values", "updates", "tasks", "checkpoints"} <= set(names)
    assert not [name for name in names if name.startswith("event:")]


async def test_what_is_not_kept_any_more_is_told_as_a_gap(http: httpx.AsyncClient, valkey: ValkeyServer) -> None:
    import redis.asyncio

    thread_id = new_thread_id()
    run_id = (await started(http, thread_id, "echo", {"text": "x"}))["result"]["run_id"]
    found = await events(http, thread_id)
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        assert await client.delete(f"freehold:run:{run_id}")
    async with streamed(
        http, "POST", f"/threads/{thread_id}/stream/events", json={"channels": ["values", "lifecycle"], "since": found[3].data["seq"]}
    ) as reader:
        frames = await reader.until(over)
    assert (frames[0].event, frames[0].data["type"], frames[0].data["id"], frames[0].data["code"]) == ("error", "error", None, "gap")
    assert data_of(frames, "values")[-1]["log"] == ["first:x:plain", "second:x"]
