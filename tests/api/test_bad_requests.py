"""Bad requests as a table: each is refused with a status and a sentence, none is an internal error."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

RUN = {"assistant_id": "echo", "input": {"text": "x"}}
ID = "0199c0de-0000-7000-8000-00000000dead"

BAD_BODIES: tuple[tuple[str, str, Any, int, str], ...] = (
    # method, path, body (bytes are sent as they are), status, part of the message
    ("POST", "/runs/wait", b"{", 422, "the body is not JSON"),
    ("POST", "/runs/wait", b"\xff\xfe", 422, "the body is not JSON"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": {"text": "\xff"}}', 422, "the body is not JSON"),
    ("POST", "/runs/wait", b"[" * 100_000, 422, "recursion limit"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", 422, "recursion limit"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": {"text": "a\\u0000b"}}', 422, "NUL character"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": {"text": 1e999}}', 422, "range of a double"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": {"text": NaN}}', 422, "the body is not JSON"),
    ("POST", "/runs/wait", b'{"assistant_id": "echo", "input": {"text": ' + b"9" * 5000 + b"}}", 422, "number out of range"),
    ("POST", "/runs/wait", b"", 422, "Field required"),
    ("POST", "/runs/wait", [], 422, "valid dictionary"),
    ("POST", "/runs/wait", {}, 422, "assistant_id: Field required"),
    ("POST", "/runs/wait", {**RUN, "assistant_id": ""}, 422, "assistant_id"),
    ("POST", "/runs/wait", {**RUN, "assistant_id": "ecko"}, 404, 'no assistant "ecko"'),
    ("POST", "/runs/wait", {**RUN, "assistant_id": ID}, 404, "not found"),
    ("POST", "/runs/wait", {**RUN, "command": {"resume": 1}}, 422, "input and command exclude each other"),
    ("POST", "/runs/wait", {**RUN, "config": {"recursion_limit": 0}}, 422, "config.recursion_limit"),
    ("POST", "/runs/wait", {**RUN, "config": {"tags": "a"}}, 422, "config.tags"),
    ("POST", "/runs/wait", {**RUN, "metadata": "a"}, 422, "metadata"),
    ("POST", "/runs/wait", {**RUN, "after_seconds": -1}, 422, "after_seconds"),
    ("POST", "/runs/wait", {**RUN, "after_seconds": 1e18}, 422, "after_seconds"),
    ("POST", "/runs/wait", {**RUN, "durability": "sometimes"}, 422, "durability"),
    ("POST", "/runs/wait", {**RUN, "on_disconnect": "explode"}, 422, "on_disconnect"),
    ("POST", "/runs/wait", {**RUN, "checkpoint_id": ID}, 422, '"checkpoint_id" is not supported'),
    ("POST", "/runs/wait", {**RUN, "webhook": "http://a.example"}, 422, "webhook: expected https"),
    ("POST", "/runs/wait", {**RUN, "feedback_keys": ["k"]}, 422, '"feedback_keys" is not supported'),
    ("POST", "/runs/wait", {**RUN, "strict_resume": "perhaps"}, 422, "strict_resume"),
    ("POST", "/runs/stream", {**RUN, "stream_mode": "thoughts"}, 422, 'stream_mode: there is no mode "thoughts"'),
    ("POST", "/runs/stream", {**RUN, "stream_mode": ["values", "tool"]}, 422, 'stream_mode: there is no mode "tool"'),
    ("POST", "/runs/stream", {**RUN, "stream_mode": "valeus"}, 422, 'there is no mode "valeus"'),
    ("POST", "/runs/stream", {**RUN, "stream_mode": {"a": 1}}, 422, "stream_mode"),
    ("POST", f"/threads/{ID}/runs", RUN, 404, "does not exist"),
    ("POST", f"/threads/{ID}/runs", {**RUN, "multitask_strategy": "pray"}, 422, "multitask_strategy"),
    ("POST", f"/threads/{ID}/runs", {**RUN, "on_completion": "keep"}, 422, '"on_completion" is not supported'),
    ("POST", "/threads/not-an-id/runs", RUN, 422, "thread_id"),
    ("GET", "/threads/not-an-id", None, 422, "thread_id"),
    ("GET", f"/threads/{ID}", None, 404, "not found"),
    ("GET", f"/threads/{ID}?include=secrets", None, 422, "include: expected ttl"),
    ("GET", f"/threads/{ID}/state/%00", None, 422, "checkpoint_id"),
    ("GET", f"/threads/{ID}/history?before=%00", None, 422, "before"),
    ("GET", "/assistants/%00", None, 404, "no assistant"),
    ("GET", "/assistants/%ff%fe", None, 404, "no assistant"),
    ("POST", f"/threads/{ID}/state", {"values": "text"}, 422, "values"),
    ("POST", f"/threads/{ID}/history", {"before": 5}, 422, "before"),
    ("POST", f"/threads/{ID}/history", {"before": {"checkpoint_id": 123}}, 422, "before.ConfigGiven.checkpoint_id"),
    ("POST", f"/threads/{ID}/history", {"before": {"configurable": {"checkpoint_id": [1]}}}, 422, "configurable.checkpoint_id"),
    ("POST", f"/threads/{ID}/history", {"checkpoint": {"checkpoint_id": 123}}, 422, "checkpoint.checkpoint_id"),
    ("POST", f"/threads/{ID}/state", {"values": {}, "checkpoint_id": 1}, 422, "checkpoint_id"),
    ("POST", f"/threads/{ID}/state", {"values": {}, "checkpoint": {"checkpoint_map": {"": 1}}}, 422, "checkpoint.checkpoint_map"),
    ("POST", f"/threads/{ID}/runs", {**RUN, "checkpoint": {"checkpoint_id": 123}}, 422, "checkpoint.checkpoint_id"),
    ("POST", f"/threads/{ID}/runs", {**RUN, "checkpoint": {"checkpoint_ns": 1}}, 422, "checkpoint.checkpoint_ns"),
    ("POST", f"/threads/{ID}/runs", {**RUN, "checkpoint_id": 123}, 422, "checkpoint_id"),
    ("GET", f"/threads/{ID}/runs", None, 404, "not found"),
    ("GET", f"/threads/{ID}/runs/{ID}", None, 404, "does not exist"),
    ("GET", f"/threads/{ID}/runs/{ID}/stream", None, 404, "does not exist"),
    ("GET", f"/threads/{ID}/runs/{ID}/stream?stream_mode=thoughts", None, 422, 'there is no mode "thoughts"'),
    ("GET", f"/threads/{ID}/runs?limit=0", None, 422, "limit"),
    ("GET", f"/threads/{ID}/runs?limit=100000", None, 422, "limit"),
    ("GET", f"/threads/{ID}/runs?status=happy", None, 422, "status"),
    ("GET", f"/threads/{ID}/state?select=password", None, 422, "a state has no 'password'"),
    ("POST", f"/threads/{ID}/runs/{ID}/cancel?action=explode", None, 422, "action"),
    ("POST", "/threads", {"thread_id": "x"}, 422, "thread_id"),
    ("POST", "/threads", {"ttl": -5}, 422, "ttl"),
    ("POST", "/threads", {"ttl": {"ttl": 5, "strategy": "hide"}}, 422, "ttl.strategy"),
    ("POST", "/threads", {"supersteps": [{}]}, 422, "supersteps.0.updates"),
    ("POST", "/threads", {"supersteps": [{"updates": [{"as_node": "first", "values": {}}]}]}, 422, "the thread has no graph"),
    ("POST", "/threads/prune", {"thread_ids": ["x"]}, 422, "thread_ids.0"),
    ("POST", "/threads/prune", {"thread_ids": [ID], "strategy": "hide"}, 422, "strategy"),
    ("POST", "/threads", b'{"metadata": {"a": "\\u0000"}}', 422, "NUL character"),
    ("POST", "/threads/search", {"sort_by": "password"}, 422, "sort_by: expected one of"),
    ("POST", "/threads/search", {"limit": 100_000}, 422, "limit"),
    ("POST", "/threads/search", {"offset": -1}, 422, "offset"),
    ("POST", "/threads/search", {"ids": ["x"]}, 422, "ids.0"),
    ("POST", "/threads/search", {"status": "happy"}, 422, "status"),
    ("POST", "/threads/search", {"extract": {"a": "nowhere.b"}}, 422, "must begin with one of values"),
    ("POST", "/assistants/search", {"sort_by": "password"}, 422, "sort_by: expected one of"),
    ("GET", "/assistants/ecko", None, 404, 'no assistant "ecko"'),
    ("GET", "/assistants/echo/graph?xray=maybe", None, 422, "xray: expected true, false or a depth"),
    ("GET", "/assistants/nested/subgraphs/nowhere", None, 404, 'no subgraph "nowhere"'),
    ("POST", "/chat", {"message": ""}, 422, "message"),
    ("POST", "/chat", {"message": 5}, 422, "message"),
    ("POST", "/chat", {"message": "x", "assistant_id": "echo"}, 422, 'keeps no "messages"'),
    ("POST", "/chat", {"message": "x", "thread_id": "y" * 600}, 422, "thread_id"),
    ("GET", "/metrics?format=json", None, 422, 'metrics format "json" is not supported'),
    ("GET", "/docs/../../etc/passwd", None, 404, "no such path"),
    ("GET", "/docs/secrets.txt", None, 404, "no such file"),
    ("GET", "/nowhere", None, 404, "no such path: /nowhere"),
    ("DELETE", "/ok", None, 405, "Method Not Allowed"),
    ("POST", "/runs/batch", RUN, 422, "valid list"),
    ("POST", "/runs/batch", [RUN, {**RUN, "assistant_id": "ecko"}], 404, 'no assistant "ecko"'),
    ("POST", "/runs/cancel", {"thread_id": ID, "run_ids": [ID]}, 404, "no runs to cancel"),
    ("POST", "/runs/crons", {}, 422, "schedule: Field required"),
    ("POST", "/assistants", {}, 422, "graph_id: Field required"),
    ("POST", "/assistants", {"graph_id": "ecko"}, 404, 'the graph "ecko" is not served here'),
    ("POST", "/assistants", {"graph_id": "echo", "assistant_id": "x"}, 422, "assistant_id"),
    ("POST", "/assistants", {"graph_id": "echo", "config": {"tags": "a"}}, 422, "tags"),
    ("POST", "/assistants", {"graph_id": "echo", "config": {"configurable": {"a": 1}}, "context": {"b": 2}}, 400, "both config"),
    ("POST", "/assistants", {"graph_id": "echo", "if_exists": "pray"}, 422, "if_exists"),
    ("PATCH", f"/assistants/{ID}", {"name": "x"}, 404, "not found"),
    ("PATCH", "/assistants/echo", {"name": "x"}, 403, "cannot be changed or deleted"),
    ("DELETE", "/assistants/echo", None, 403, "cannot be changed or deleted"),
    ("POST", f"/assistants/{ID}/versions", {"limit": 0}, 422, "limit"),
    ("POST", f"/assistants/{ID}/latest", {}, 422, "version: Field required"),
    ("POST", f"/assistants/{ID}/latest", {"version": 2**40}, 422, "version"),
    ("POST", "/assistants/search", {"select": ["password"]}, 422, "select.0"),
    ("GET", f"/threads/{ID}/stream", None, 404, "not found"),
    ("GET", f"/threads/{ID}/stream?stream_mode=values", None, 422, 'there is no mode "values"'),
    ("POST", f"/threads/{ID}/stream/events", {"channels": ["values"]}, 404, "not found"),
    ("POST", f"/threads/{ID}/stream/events", {"channels": ["thoughts"]}, 422, 'there is no channel "thoughts"'),
    ("POST", f"/threads/{ID}/stream/events", {}, 422, "channels"),
    ("POST", f"/threads/{ID}/commands", {"method": "run.start"}, 422, "id"),
)


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), BAD_BODIES)
async def test_a_bad_request_is_refused_with_a_sentence(
    http: httpx.AsyncClient, method: str, path: str, body: Any, status: int, message: str
) -> None:
    content = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
    response = await http.request(method, path, **content)
    assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text[:500]
    assert set(response.json()) <= {"detail", "code", "hint"}


@pytest.mark.parametrize("last_event_id", ["x", "1", "1-2-3", "-2", "9" * 40 + "-1", "1-1; DROP"])
async def test_a_last_event_id_that_is_not_ours_is_refused(http: httpx.AsyncClient, last_event_id: str) -> None:
    response = await http.get(f"/threads/{ID}/runs/{ID}/stream", headers={"last-event-id": last_event_id})
    assert response.status_code == 422
    assert "Last-Event-ID" in response.json()["detail"]


async def test_unknown_keys_and_nulls_pass(http: httpx.AsyncClient) -> None:
    nulls = dict.fromkeys(("command", "config", "context", "metadata", "stream_mode", "interrupt_before", "webhook", "durability"))
    response = await http.post("/runs/wait", json={**RUN, **nulls, "a_key_of_tomorrow": {"x": 1}})
    assert response.json()["log"] == ["first:x:plain", "second:x"]


async def test_the_text_backslash_u0000_is_not_a_nul(http: httpx.AsyncClient) -> None:
    response = await http.post("/runs/wait", content=b'{"assistant_id": "echo", "input": {"text": "a\\\\u0000b"}}')
    assert response.json()["text"] == "a\\u0000b"
