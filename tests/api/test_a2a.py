"""A2A, driven by the official client in version 1.0 and 0.3, and on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
)
from google.protobuf import json_format
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

PROJECT = Path(__file__).parent / "askers" / "langgraph.json"


@dataclass(frozen=True)
class Served:
    """A server with keys, and two people."""

    url: str
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    sdk: LangGraphClient

    async def rpc(self, agent: str, method: str, params: dict[str, Any], *, by: httpx.AsyncClient | None = None) -> dict[str, Any]:
        """The answer to one call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = await (by or self.ada).post(f"/a2a/{agent}", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert answer["id"] == 1 and answer["jsonrpc"] == "2.0"
        return answer

    async def result(self, agent: str, method: str, params: dict[str, Any]) -> Any:
        answer = await self.rpc(agent, method, params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, agent: str, method: str, params: dict[str, Any], *, by: httpx.AsyncClient | None = None) -> int:
        answer = await self.rpc(agent, method, params, by=by)
        assert "error" in answer, answer
        return int(answer["error"]["code"])

    async def until(self, agent: str, task_id: str, state: str) -> dict[str, Any]:
        while (task := await self.result(agent, "tasks/get", {"id": task_id}))["status"]["state"] != state:
            await asyncio.sleep(0.02)
        return dict(task)


@pytest.fixture(scope="module")
def askers(postgres: PostgresServer, valkey: ValkeyServer) -> Iterator[tuple[str, str]]:
    """A server over the project of this module, and its database."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute('CREATE DATABASE "askers" TEMPLATE freehold_template OWNER freehold_owner')
    database_url = postgres.url("askers", "freehold_app", "app-secret")
    with serving(database_url, valkey.url, server={"auth": "keys"}, agents={"config": PROJECT, "shipped": False}) as url:
        yield url, database_url


@pytest.fixture
async def served(askers: tuple[str, str]) -> AsyncIterator[Served]:
    url, database_url = askers
    keys = [generate(), generate()]
    async with create_pool(database_url, max_size=2) as pool, AsyncExitStack() as stack:
        for key in keys:
            await ApiKeys(pool).add(key, name="somebody", owner=str(uuid4()))
        ada, bob = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers={"x-api-key": key}, timeout=30)) for key in keys
        ]
        yield Served(url, ada, bob, await stack.enter_async_context(get_client(url=url, api_key=keys[0])))


def message(text: str | None = None, *, data: Any = None, **more: Any) -> dict[str, Any]:
    """Parameters of message/send."""
    parts = [{"kind": "text", "text": text}] if text is not None else []
    parts += [{"kind": "data", "data": data}] if data is not None else []
    return {"message": {"kind": "message", "role": "user", "messageId": str(uuid4()), "parts": parts, **more}}


async def client_of(served: Served, agent: str, *, version: str = "1.0", streaming: bool = False) -> Client:
    """The official client, by the agent's card."""
    card = await A2ACardResolver(served.ada, f"{served.url}/a2a/{agent}").get_agent_card()
    chosen = [interface for interface in card.supported_interfaces if interface.protocol_version == version]
    del card.supported_interfaces[:]
    card.supported_interfaces.extend(chosen)
    return ClientFactory(ClientConfig(httpx_client=served.ada, streaming=streaming)).create(card)


def asking(text: str, **more: Any) -> SendMessageRequest:
    said = Message(message_id=str(uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)], **more)
    return SendMessageRequest(message=said)


async def told(client: Client, request: SendMessageRequest) -> list[StreamResponse]:
    return [event async for event in client.send_message(request)]


# -- the official client -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.compat(
    "A2A",
    "POST /a2a/{assistant_id}: message/send, SendMessage",
    "the agent's answer as a completed task; the context goes on as its thread",
)
async def test_the_official_client_gets_an_answer_and_goes_on_in_its_context(served: Served, version: str) -> None:
    client = await client_of(served, "speaker", version=version)
    (first,) = await told(client, asking("hello"))
    task = first.task
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert [part.text for artifact in task.artifacts for part in artifact.parts] == ["1: hello"]
    (second,) = await told(client, asking("again", context_id=task.context_id))
    assert second.task.context_id == task.context_id and second.task.id != task.id
    assert second.task.artifacts[0].parts[0].text == "3: again"
    state = await served.sdk.threads.get_state(task.context_id)
    assert [said["content"] for said in state["values"]["messages"]] == ["hello", "1: hello", "again", "3: again"]  # type: ignore[call-overload]
    assert (await served.sdk.runs.get(task.context_id, task.id))["status"] == "success"


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.compat("A2A", "message/stream, SendStreamingMessage", "the task, its states and the answer, token by token, then whole")
async def test_the_official_client_streams_an_answer(served: Served, version: str) -> None:
    client = await client_of(served, "speaker", version=version, streaming=True)
    events = await told(client, asking("hello"))
    assert events[0].task.status.state == TaskState.TASK_STATE_SUBMITTED
    states = [event.status_update.status.state for event in events if event.HasField("status_update")]
    assert states == [TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED]
    pieces = [event.artifact_update for event in events if event.HasField("artifact_update")]
    assert pieces[-1].artifact.parts[0].text == "1: hello" and pieces[-1].last_chunk and not pieces[-1].append


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.compat("A2A", "input-required", "an interrupt asks; a message to the task answers it, and the same task completes")
async def test_the_official_client_answers_what_an_agent_asks(served: Served, version: str) -> None:
    client = await client_of(served, "asker", version=version)
    (paused,) = await told(client, asking("paint it"))
    task = paused.task
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert "Which colour?" in task.status.message.parts[0].text
    (done,) = await told(client, asking("blue", task_id=task.id, context_id=task.context_id))
    assert (done.task.id, done.task.status.state) == (task.id, TaskState.TASK_STATE_COMPLETED)
    assert done.task.artifacts[0].parts[0].text == "It is blue."
    kept = await client.get_task(GetTaskRequest(id=task.id))
    assert kept.status.state == TaskState.TASK_STATE_COMPLETED and kept.artifacts[0].parts[0].text == "It is blue."


@pytest.mark.compat("A2A", "tasks/get, GetTask", "where the task stands, with its answer and messages, also after later turns")
@pytest.mark.compat("A2A", "ListTasks", "the caller's tasks with this agent, by context and state, page by page")
async def test_the_official_client_finds_tasks_again(served: Served) -> None:
    client = await client_of(served, "speaker")
    tasks: list[Task] = []
    for text in ("one", "two", "three"):
        context = {"context_id": tasks[0].context_id} if text == "two" else {}
        tasks.append((await told(client, asking(text, **context)))[0].task)
    again = await client.get_task(GetTaskRequest(id=tasks[0].id))
    assert again.artifacts[0].parts[0].text == "1: one"
    assert [said.parts[0].text for said in again.history] == ["one", "1: one"]
    assert [said.parts[0].text for said in (await client.get_task(GetTaskRequest(id=tasks[0].id, history_length=1))).history] == ["1: one"]
    listed = await client.list_tasks(ListTasksRequest(page_size=2))
    assert [task.id for task in listed.tasks] == [tasks[2].id, tasks[1].id] and listed.total_size == 3
    rest = await client.list_tasks(ListTasksRequest(page_size=2, page_token=listed.next_page_token))
    assert [task.id for task in rest.tasks] == [tasks[0].id] and not rest.next_page_token
    of_context = await client.list_tasks(ListTasksRequest(context_id=tasks[0].context_id, status=TaskState.TASK_STATE_COMPLETED))
    assert [task.id for task in of_context.tasks] == [tasks[1].id, tasks[0].id]
    assert not (await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_FAILED))).tasks


@pytest.mark.compat("A2A", "tasks/cancel, CancelTask", "the run stops and the task is canceled; what has ended cannot be")
async def test_the_official_client_cancels_a_task(served: Served) -> None:
    client = await client_of(served, "speaker")
    request = asking("wait")
    request.configuration.return_immediately = True
    (begun,) = await told(client, request)
    assert begun.task.status.state in {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}
    await served.until("speaker", begun.task.id, "working")
    canceled = await client.cancel_task(CancelTaskRequest(id=begun.task.id))
    assert canceled.status.state == TaskState.TASK_STATE_CANCELED
    assert (await served.sdk.runs.get(begun.task.context_id, begun.task.id))["status"] == "interrupted"
    assert await served.error("speaker", "tasks/cancel", {"id": begun.task.id}) == -32002


@pytest.mark.compat(
    "A2A",
    "GET /.well-known/agent-card.json, GET /a2a/{assistant_id}/.well-known/agent-card.json",
    "at both addresses, for readers of 1.0 and 0.3; the address in it answers",
)
async def test_a_card_says_who_the_agent_is_and_where(served: Served) -> None:
    card = await A2ACardResolver(served.ada, f"{served.url}/a2a/asker").get_agent_card()
    assert (card.name, card.description) == ("asker", "Asks for a colour before it answers.")
    assert card.capabilities.streaming and card.security_schemes["key"].api_key_security_scheme.name == "x-api-key"
    assert {interface.protocol_version for interface in card.supported_interfaces} == {"1.0", "0.3"}
    by_query = (await served.ada.get("/.well-known/agent-card.json", params={"assistant_id": "asker"})).json()
    assert by_query == (await served.ada.get("/a2a/asker/.well-known/agent-card.json")).json()
    answer = await served.ada.post(by_query["url"], json={"jsonrpc": "2.0", "id": 1, "method": "GetExtendedAgentCard"})
    assert json_format.ParseDict(answer.json()["result"], AgentCard(), ignore_unknown_fields=True).name == "asker"
    assert (await served.ada.get("/.well-known/agent-card.json")).status_code == 200


# -- on the wire ---------------------------------------------------------------------------------------------------


async def test_objects_of_version_0_3_say_what_they_are(served: Served) -> None:
    sent = message("hello", contextId="my talk")
    task = await served.result("speaker", "message/send", sent)
    assert task["history"][0]["messageId"] == sent["message"]["messageId"]
    assert (task["kind"], task["contextId"], task["status"]["state"]) == ("task", "my talk", "completed")
    assert task["artifacts"] == [{"artifactId": task["id"], "name": "answer", "parts": [{"kind": "text", "text": "1: hello"}]}]
    assert [(said["kind"], said["role"]) for said in task["history"]] == [("message", "user"), ("message", "agent")]
    again = await served.result("speaker", "message/send", {**message("more", contextId="my talk"), "configuration": {"historyLength": 0}})
    assert again["artifacts"][0]["parts"][0]["text"] == "3: more" and "history" not in again


async def test_a_stream_of_version_0_3_ends_with_a_final_state(served: Served) -> None:
    body = {"jsonrpc": "2.0", "id": "s", "method": "message/stream", "params": message("hello")}
    async with served.ada.stream("POST", "/a2a/speaker", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) async for line in response.aiter_lines() if line.startswith("data: ")]
    assert {event["id"] for event in events} == {"s"}
    kinds = [event["result"]["kind"] for event in events]
    assert kinds[:2] == ["task", "status-update"] and kinds[-1] == "status-update"
    assert [event["result"].get("final") for event in events if event["result"]["kind"] == "status-update"] == [False, True]


@pytest.mark.compat("A2A", "tokens in a stream", "what the model says comes piece by piece and is replaced by the whole answer")
async def test_tokens_are_pieces_of_the_answer(http: httpx.AsyncClient) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message("one two three")}
    async with http.stream("POST", "/a2a/talker", json=body) as response:
        results = [json.loads(line[6:])["result"] async for line in response.aiter_lines() if line.startswith("data: ")]
    pieces = [result["artifactUpdate"] for result in results if "artifactUpdate" in result]
    assert [piece["artifact"]["parts"][0]["text"] for piece in pieces] == ["one", " two", " three", "one two three"]
    assert [piece["append"] for piece in pieces] == [False, True, True, False]


@pytest.mark.compat("A2A", "tasks/resubscribe, SubscribeToTask", "a task at work is followed again to its end; one at rest is refused")
async def test_a_task_is_followed_again(http: httpx.AsyncClient) -> None:
    params = {**message("think a little more"), "configuration": {"blocking": False}}
    task = (await http.post("/a2a/talker", json={"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params})).json()["result"]
    body = {"jsonrpc": "2.0", "id": 2, "method": "tasks/resubscribe", "params": {"id": task["id"]}}
    async with http.stream("POST", "/a2a/talker", json=body) as response:
        results = [json.loads(line[6:])["result"] async for line in response.aiter_lines() if line.startswith("data: ")]
    assert results[-1]["status"]["state"] == "completed"
    assert results[-2]["artifact"]["parts"][0]["text"] == "think a little more"
    assert (await http.post("/a2a/talker", json=body)).json()["error"]["code"] == -32004


async def test_an_agent_that_fails_gives_a_failed_task_that_says_why(served: Served) -> None:
    task = await served.result("fails", "message/send", message("hello"))
    assert task["status"]["state"] == "failed"
    assert "the agent failed on purpose" in task["status"]["message"]["parts"][0]["text"]
    assert (await served.result("fails", "tasks/get", {"id": task["id"]}))["status"]["state"] == "failed"


async def test_several_questions_are_answered_by_their_ids(served: Served) -> None:
    task = await served.result("pair", "message/send", message("hello"))
    asked = task["status"]["message"]["parts"][-1]["data"]["interrupts"]
    assert sorted(question["value"] for question in asked) == ["first?", "second?"]
    answers = {question["id"]: question["value"].upper() for question in asked}
    assert await served.error("pair", "message/send", message("both", taskId=task["id"])) == -32602
    done = await served.result("pair", "message/send", message(data=answers, taskId=task["id"]))
    assert done["status"]["state"] == "completed"
    state = await served.sdk.threads.get_state(task["contextId"])
    said = [said["content"] for said in state["values"]["messages"]]  # type: ignore[call-overload]
    assert said == ["hello", "first: FIRST?", "second: SECOND?"]


async def test_data_reach_an_agent_as_text_and_answer_a_question_as_they_are(served: Served) -> None:
    task = await served.result("speaker", "message/send", message("look:", data={"a": [1]}))
    assert task["artifacts"][0]["parts"][0]["text"] == '1: look:\n\n{"a":[1]}'
    asked = await served.result("asker", "message/send", message("paint it"))
    done = await served.result("asker", "message/send", message(data={"red": 1}, taskId=asked["id"]))
    assert done["artifacts"][0]["parts"][0]["text"] == "It is {'red': 1}."


@pytest.mark.compat("A2A", "one's own tasks", "nobody reads, answers, cancels, lists or joins what is another's")
async def test_nobody_reaches_what_is_another_s(served: Served) -> None:
    task = await served.result("asker", "message/send", message("paint it"))
    context = task["contextId"]
    assert UUID(context)
    for method, params in (
        ("tasks/get", {"id": task["id"]}),
        ("tasks/cancel", {"id": task["id"]}),
        ("tasks/resubscribe", {"id": task["id"]}),
        ("message/send", message("blue", taskId=task["id"])),
    ):
        assert await served.error("asker", method, params, by=served.bob) == -32001
    assert await served.error("asker", "message/send", message("hello", contextId=context), by=served.bob) == -32602
    assert (await served.rpc("asker", "ListTasks", {}, by=served.bob))["result"]["tasks"] == []
    async with httpx.AsyncClient(base_url=served.url) as nobody:
        assert (await nobody.post("/a2a/asker", json={})).status_code == 401
        assert (await nobody.get("/a2a/asker/.well-known/agent-card.json")).status_code == 401


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("message/unknown", {}, -32601),
        ("tasks/pushNotificationConfig/set", {}, -32003),
        ("message/send", {}, -32602),
        ("message/send", {"message": {"role": "agent", "parts": [{"kind": "text", "text": "x"}]}}, -32602),
        ("message/send", {"message": {"role": "user", "parts": []}}, -32602),
        ("message/send", {"message": {"role": "user", "parts": [{"kind": "file", "file": {"uri": "http://x"}}]}}, -32005),
        ("message/send", {"message": {"role": "user", "parts": [{}]}}, -32602),
        ("message/send", {"message": {"role": "user", "parts": [{"kind": "text", "text": "x"}], "contextId": 7}}, -32602),
        ("message/send", {"message": {"role": "user", "parts": [{"kind": "text", "text": "x"}], "taskId": "x"}}, -32001),
        ("message/send", {**message("x"), "configuration": {"pushNotificationConfig": {"url": "http://x"}}}, -32003),
        ("message/send", {**message("x"), "configuration": {"historyLength": -1}}, -32602),
        ("tasks/get", {}, -32602),
        ("tasks/get", {"id": str(uuid4())}, -32001),
        ("tasks/get", {"id": "x"}, -32001),
        ("ListTasks", {"pageSize": 1000}, -32602),
        ("ListTasks", {"pageToken": "x"}, -32602),
    ],
)
async def test_what_cannot_be_asked_is_told_as_json_rpc_has_it(http: httpx.AsyncClient, method: str, params: Any, code: int) -> None:
    response = await http.post("/a2a/talker", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert (response.status_code, response.json()["error"]["code"]) == (200, code)


async def test_a_task_that_has_ended_takes_no_message(served: Served) -> None:
    task = await served.result("speaker", "message/send", message("hello"))
    assert await served.error("speaker", "message/send", message("more", taskId=task["id"])) == -32004
    assert await served.error("asker", "tasks/get", {"id": task["id"]}) == -32001  # another agent's


async def test_an_agent_that_is_not_there_or_cannot_talk_is_refused(served: Served) -> None:
    for agent, status in (("nobody", 404), (str(uuid4()), 404), ("silent", 422)):
        assert (await served.ada.post(f"/a2a/{agent}", json={"jsonrpc": "2.0", "id": 1, "method": "message/send"})).status_code == status
        assert (await served.ada.get(f"/a2a/{agent}/.well-known/agent-card.json")).status_code == status


@pytest.mark.compat("A2A", "push notifications", "refused by name: -32003", refused=True)
@pytest.mark.compat("A2A", "file parts", "refused by name: -32005", refused=True)
async def test_what_is_not_supported_is_refused_by_name(served: Served) -> None:
    configuration = {"pushNotificationConfig": {"url": "http://127.0.0.1:1"}}
    assert await served.error("speaker", "message/send", {**message("x"), "configuration": configuration}) == -32003
    assert await served.error("speaker", "CreateTaskPushNotificationConfig", {}) == -32003
    files = {"role": "user", "messageId": "1", "parts": [{"kind": "file", "file": {"uri": "http://127.0.0.1:1"}}]}
    assert await served.error("speaker", "message/send", {"message": files}) == -32005
    assert await served.error("speaker", "SendMessage", {"message": {**files, "parts": [{"url": "http://127.0.0.1:1"}]}}) == -32005
    assert (await served.result("speaker", "ListTasks", {}))["tasks"] == []


async def test_an_agent_that_is_not_there_is_that_whatever_it_is_told(served: Served) -> None:
    for body in (b"", b"{", b"{}", b'{"jsonrpc": "2.0", "id": 1, "method": "nothing"}'):
        assert (await served.ada.post(f"/a2a/{uuid4()}", content=body)).status_code == 404


async def test_a_version_that_is_not_spoken_is_refused(http: httpx.AsyncClient) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}}
    assert (await http.post("/a2a/talker", json=body, headers={"A2A-Version": "2.0"})).json()["error"]["code"] == -32009


async def test_a_key_that_may_only_read_starts_nothing(served: Served, askers: tuple[str, str]) -> None:
    key = generate()
    async with create_pool(askers[1], max_size=1) as pool:
        await ApiKeys(pool).add(key, name="reader", owner="reader", scopes=["read"])
    call = {"jsonrpc": "2.0", "id": 1}
    async with httpx.AsyncClient(base_url=served.url, headers={"x-api-key": key}) as reader:
        for path, method, params in (
            ("/a2a/speaker", "message/send", message("hello")),
            ("/a2a/speaker", "tasks/cancel", {"id": str(uuid4())}),
            ("/mcp", "tools/call", {"name": "speaker", "arguments": {}}),
        ):
            assert (await reader.post(path, json={**call, "method": method, "params": params})).status_code == 403
        for path, method in (("/a2a/speaker", "ListTasks"), ("/mcp", "tools/list"), ("/mcp", "ping")):
            assert "result" in (await reader.post(path, json={**call, "method": method})).json()
