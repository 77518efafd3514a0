"""MCP, driven by the official client: assistants as tools, over versions with and without a handshake."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from mcp.client import Client

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> str:
    """With a handshake, and as the newest version has it."""
    return str(request.param)


@pytest.fixture
def mcp_url(server_url: str) -> str:
    return f"{server_url}/mcp"


def call(name: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments, **more}}


@pytest.mark.compat("MCP", "initialize, server/discover", "the official client connects with every version, with a handshake and without")
async def test_the_official_client_connects(mcp_url: str, mode: str) -> None:
    async with Client(mcp_url, mode=mode) as client:
        assert client.server_info.name == "freehold"
        assert client.server_capabilities.tools is not None
        assert (client.protocol_version >= "2026") == (mode == "auto")


@pytest.mark.compat(
    "MCP", "POST /mcp: tools/list", "each assistant the caller may use is a tool, with its description and its graph's input schema"
)
async def test_assistants_are_tools(mcp_url: str, mode: str, sdk: LangGraphClient) -> None:
    async with Client(mcp_url, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"echo", "talker", "asks", "fails"} <= set(tools) and "broken" not in tools
    assert tools["talker"].description == "Repeats what it is told, token by token."
    schema = (await sdk.assistants.get_schemas("echo"))["input_schema"]
    assert tools["echo"].input_schema == schema
    assert all(tool.input_schema["type"] == "object" for tool in tools.values())


@pytest.mark.compat("MCP", "tools/call", "runs the assistant without a thread; its answer as text, its values as structuredContent")
async def test_a_tool_call_runs_the_assistant(mcp_url: str, mode: str) -> None:
    async with Client(mcp_url, mode=mode) as client:
        result = await client.call_tool("echo", {"text": "hi"})
        said = await client.call_tool("talker", {"messages": [{"role": "user", "content": "good day"}]})
    assert not result.is_error
    assert result.structured_content == {"text": "hi", "log": ["first:hi:plain", "second:hi"]}
    assert [part.text for part in said.content] == ["good day"]  # type: ignore[union-attr]


@pytest.mark.compat("MCP", "tools/call: errors", "an agent that fails, or stops to ask, gives a result with isError that says why")
async def test_what_goes_wrong_in_an_agent_is_a_result(mcp_url: str, mode: str) -> None:
    async with Client(mcp_url, mode=mode) as client:
        failed = await client.call_tool("fails", {"text": "x"})
        asked = await client.call_tool("asks", {"text": "x"})
        with pytest.raises(Exception, match="Unknown tool"):
            await client.call_tool("nobody", {})
    assert failed.is_error and "the graph failed on purpose" in failed.content[0].text  # type: ignore[union-attr]
    assert asked.is_error and "Which colour?" in asked.content[0].text  # type: ignore[union-attr]


@pytest.mark.compat("MCP", "leaving a call", "the run of a client that leaves is stopped")
async def test_a_client_that_leaves_stops_its_run(server_url: str, sdk: LangGraphClient) -> None:
    async with httpx.AsyncClient(base_url=server_url) as client:
        headers = {"accept": "application/json, text/event-stream"}
        async with client.stream("POST", "/mcp", json=call("waits", {"text": "x"}), headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            _, _, thread_id, _, run_id = response.headers["content-location"].split("/")
            while (await sdk.runs.get(thread_id, run_id))["status"] != "running":
                await asyncio.sleep(0.02)
    while (await sdk.runs.get(thread_id, run_id))["status"] == "running":
        await asyncio.sleep(0.02)
    assert (await sdk.runs.get(thread_id, run_id))["status"] == "interrupted"


async def test_the_official_client_cancels_a_call_by_leaving_it(mcp_url: str) -> None:
    async with Client(mcp_url, mode="auto") as client:
        with anyio.move_on_after(1) as scope:
            await client.call_tool("waits", {"text": "x"})
        assert scope.cancelled_caught
        assert not (await client.call_tool("echo", {"text": "hi"})).is_error


# -- on the wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "given"), [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25")])
async def test_a_version_is_agreed_on(http: httpx.AsyncClient, asked: str, given: str) -> None:
    message = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": asked}}  # type: ignore[dict-item]
    response = await http.post("/mcp", json=message)
    assert response.json()["result"]["protocolVersion"] == given
    assert "mcp-session-id" not in response.headers


@pytest.mark.compat("MCP", "JSON and event streams", "a call is answered as the Accept header says")
async def test_the_answer_is_what_the_client_accepts(http: httpx.AsyncClient) -> None:
    plain = await http.post("/mcp", json=call("echo", {"text": "a"}), headers={"accept": "application/json"})
    assert plain.headers["content-type"] == "application/json" and plain.json()["result"]["structuredContent"]["text"] == "a"
    streamed = await http.post("/mcp", json=call("echo", {"text": "a"}), headers={"accept": "text/event-stream"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.startswith('event: message\r\ndata: {"jsonrpc":"2.0","id":7,"result"')


@pytest.mark.compat("MCP", "notifications/cancelled", "taken without effect: a call is stopped by leaving it", refused=True)
async def test_notifications_and_answers_are_taken_without_a_word(http: httpx.AsyncClient) -> None:
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ):
        response = await http.post("/mcp", json=message)
        assert (response.status_code, response.content) == (202, b"")


async def test_ping_is_answered(http: httpx.AsyncClient) -> None:
    assert (await http.post("/mcp/", json={"jsonrpc": "2.0", "id": "x", "method": "ping"})).json() == {
        "jsonrpc": "2.0",
        "id": "x",
        "result": {},
    }


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[]", 400, -32600),
        (b'"x"', 400, -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}', 200, -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', 400, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}}', 200, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}', 200, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": []}}', 200, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "broken"}}', 200, -32602),
    ],
)
async def test_what_is_no_call_is_told_as_json_rpc_has_it(http: httpx.AsyncClient, body: bytes, status: int, code: int) -> None:
    response = await http.post("/mcp", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.compat("MCP", "resources, prompts, logging, batches", "not offered, and refused by name", refused=True)
async def test_what_is_not_offered_is_refused_by_name(http: httpx.AsyncClient) -> None:
    initialized = (await http.post("/mcp", json=INITIALIZE)).json()["result"]
    assert set(initialized["capabilities"]) == {"tools"}
    for method in ("resources/list", "prompts/list", "logging/setLevel", "completion/complete"):
        response = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method})
        assert response.json()["error"]["code"] == -32601
    batch = await http.post("/mcp", json=[INITIALIZE, INITIALIZE])
    assert (batch.status_code, batch.json()["error"]["code"]) == (400, -32600)


async def test_a_version_that_is_not_spoken_is_refused(http: httpx.AsyncClient) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    response = await http.post("/mcp", json=ping, headers={"mcp-protocol-version": "1999-01-01"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32022)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    modern = {**ping, "params": {"_meta": meta}}
    response = await http.post("/mcp", json=modern, headers={"mcp-protocol-version": "2025-06-18", "mcp-method": "ping"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


@pytest.mark.compat("MCP", "GET and DELETE /mcp", "there is neither a stream outside of calls (405) nor a session to end (404)")
async def test_there_is_no_stream_and_no_session(http: httpx.AsyncClient) -> None:
    assert (await http.get("/mcp", headers={"accept": "text/event-stream"})).status_code == 405
    assert (await http.delete("/mcp")).status_code == 404


async def test_assistants_of_one_name_are_tools_of_their_own_with_their_own_settings(mcp_url: str, sdk: LangGraphClient) -> None:
    made = [
        await sdk.assistants.create("echo", name="Écho & more!", description="a twin", config={"configurable": {"tone": tone}})
        for tone in ("loud", "soft")
    ]
    async with Client(mcp_url, mode="legacy") as client:
        names = [tool.name for tool in (await client.list_tools()).tools if tool.description == "a twin"]
        results = [await client.call_tool(name, {"text": "x"}) for name in names]
    assert len(set(names)) == 2 and all(name.startswith("cho_more-") for name in names)
    assert [result.structured_content["log"][0] for result in results] == ["first:x:loud", "first:x:soft"]  # type: ignore[index]
    for assistant in made:
        await sdk.assistants.delete(assistant["assistant_id"])
