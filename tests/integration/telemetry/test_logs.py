"""Log lines of real processes carry the ids that clients know."""

from __future__ import annotations

import json

import httpx
from tests.integration.telemetry.conftest import Start
from tests.support.otlp import Receiver


def test_every_line_of_a_run_has_its_ids_and_those_of_the_request_that_asked(start: Start, receiver: Receiver) -> None:
    with start(telemetry=f'otlp_endpoint = "{receiver.url}"') as stack:
        url = stack.start_server()
        stack.start_worker()
        body = {"assistant_id": "quotes", "input": {"messages": [{"role": "user", "content": "hello"}]}}
        answer = httpx.post(f"{url}/runs/wait", json=body, headers={"x-request-id": "my-request-7"}, timeout=60)
        assert answer.headers["x-request-id"] == "my-request-7"
        httpx.post(f"{url}/runs/wait", json=body, headers={"x-request-id": "my-request-8"}, timeout=60)
        stack.stop()
        lines = [json.loads(line) for line in stack.log().splitlines()]
    _, _, thread_id, _, run_id, *_ = answer.headers["content-location"].split("/")
    (run,) = [span for span in receiver.named("invoke_agent quotes") if span.attributes["freehold.run_id"] == run_id]
    ids = {"run_id": run_id, "thread_id": thread_id, "attempt": 1, "request_id": "my-request-7", "trace_id": run.trace_id}
    of_the_run = [line for line in lines if line.get("run_id") == run_id]
    assert {line["action"] for line in of_the_run if "action" in line} == {"quoting", "graph_raised", "run_failed"}
    assert [line for line in of_the_run if not ids.items() <= line.items()] == []
    about_runs = [line for line in lines if line.get("action") in {"quoting", "graph_raised", "run_failed"}]
    assert {line["request_id"] for line in about_runs} == {"my-request-7", "my-request-8"}
