"""Traces of real processes, as an OTLP receiver gets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.telemetry.conftest import Start
from tests.support.otlp import ReceivedSpan, Receiver

from freehold.lab.scripted_model import ScriptedModel
from freehold.lab.scripted_model.script import Call, Rule, Script

#: Looked for in everything that leaves a process.
CANARY = "xylophone-4711"

CALLER = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"

#: Says the canary in the arguments of a tool, and in the answer.
SCRIPT = Script(
    model="scripted-build-7",
    rules=(
        Rule(tool_results=1, text=f"The result is {{tool_result}}, {CANARY}."),
        Rule(offers="calculate", calls=(Call(name="calculate", arguments={"expression": "42 * 17"}),)),
        Rule(offers="double", calls=(Call(name="double", arguments={"number": 13}),)),
        Rule(text=f"{CANARY}"),
    ),
)


def ask(url: str, graph: str, text: str, **headers: str) -> Any:
    body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}}
    return httpx.post(f"{url}/runs/wait", json=body, headers=headers, timeout=60).json()


def tree(spans: list[ReceivedSpan]) -> set[tuple[str, str]]:
    """(name of the parent, name) of every span; "" for a parent that is not ours."""
    names = {span.span_id: span.name for span in spans}
    return {(names.get(span.parent_id, ""), span.name) for span in spans}


def test_a_request_is_one_trace_from_http_to_the_tools_of_the_worker(
    start: Start, receiver: Receiver, scripted_model: ScriptedModel
) -> None:
    scripted_model.use(SCRIPT)
    with start(telemetry=f'otlp_endpoint = "{receiver.url}"') as stack:
        url = stack.start_server()
        stack.start_worker()
        answer = ask(url, "assistant", f"{CANARY}: 42 * 17", traceparent=f"00-{CALLER}-{CALLER_SPAN}-01")
        assert CANARY in answer["messages"][-1]["content"]
        stack.stop()

    spans = receiver.trace(CALLER)
    by_name = {span.name: span for span in spans}
    assert tree(spans) >= {
        ("", "POST /runs/wait"),
        ("POST /runs/wait", "accept run"),
        ("accept run", "queue wait"),
        ("accept run", "claim"),
        ("accept run", "invoke_agent assistant"),
        ("invoke_agent assistant", "node model"),
        ("node model", "chat scripted"),
        ("invoke_agent assistant", "node tools"),
        ("node tools", "execute_tool calculate"),
    }
    known = {span.span_id for span in spans}
    assert [span.name for span in spans if span.parent_id not in known] == ["POST /runs/wait"]
    assert by_name["POST /runs/wait"].parent_id == CALLER_SPAN

    request, run = by_name["POST /runs/wait"], by_name["invoke_agent assistant"]
    assert (request.kind, request.service, run.kind, run.service) == ("SERVER", "freehold-server", "CONSUMER", "freehold-worker")
    assert request.attributes["http.response.status_code"] == 200
    of_the_run = [span for span in spans if span is not request]
    assert len({span.attributes["freehold.run_id"] for span in of_the_run}) == 1
    assert {span.attributes["gen_ai.conversation.id"] for span in of_the_run} == {run.attributes["freehold.thread_id"]}
    assert run.attributes["freehold.run.status"] == "success"
    assert (run.attributes["gen_ai.operation.name"], run.attributes["gen_ai.agent.name"]) == ("invoke_agent", "assistant")
    assert (run.attributes["freehold.attempt"], run.attributes["openinference.span.kind"]) == (1, "AGENT")

    chats = receiver.named("chat scripted")
    assert len(chats) == 2  # one that calls the tool, one that answers
    for chat in chats:
        assert chat.kind == "CLIENT"
        said = chat.attributes
        assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("chat", "openai")
        assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == said["llm.model_name"] == "scripted"
        assert said["gen_ai.usage.input_tokens"] == said["llm.token_count.prompt"] > 0
        assert said["gen_ai.usage.output_tokens"] == said["llm.token_count.completion"] > 0
        assert said["openinference.span.kind"] == "LLM"
    tool = by_name["execute_tool calculate"].attributes
    assert (tool["gen_ai.operation.name"], tool["gen_ai.tool.name"], tool["freehold.tool.outcome"]) == ("execute_tool", "calculate", "ok")
    assert tool["gen_ai.tool.call.id"].startswith("call_")


def test_no_word_of_a_prompt_an_answer_or_an_error_leaves_a_process(
    start: Start, receiver: Receiver, scripted_model: ScriptedModel
) -> None:
    scripted_model.use(SCRIPT)
    with start(telemetry=f'log_level = "debug"\notlp_endpoint = "{receiver.url}"') as stack:
        url = stack.start_server()
        stack.start_worker()
        for graph in ("assistant", "plain", "quotes"):
            ask(url, graph, CANARY)
        metrics = httpx.get(f"{url}/metrics").text
        stack.stop()
        log = stack.log()
    assert receiver.named("invoke_agent quotes")[0].attributes["error.type"] == "ValueError"
    assert '"graph_raised"' in log and "graphs.py:" in log
    everything = {"traces": b"".join(receiver.raw).decode(errors="replace"), "logs": log, "metrics": metrics}
    assert [where for where, text in everything.items() if CANARY in text or "thirteen" in text] == []


@pytest.mark.slow
def test_prompts_answers_and_errors_are_kept_where_that_is_switched_on(
    start: Start, receiver: Receiver, scripted_model: ScriptedModel
) -> None:
    scripted_model.use(SCRIPT)
    with start(telemetry=f'content = true\notlp_endpoint = "{receiver.url}"') as stack:
        url = stack.start_server()
        stack.start_worker()
        ask(url, "assistant", f"{CANARY}: 42 * 17")
        ask(url, "quotes", CANARY)
        stack.stop()
        log = stack.log()
    first, last = (receiver.named("chat scripted")[place].attributes for place in (0, -1))
    asked = json.loads(first["gen_ai.input.messages"])[-1]
    assert asked == {"role": "user", "parts": [{"type": "text", "content": f"{CANARY}: 42 * 17"}]}
    assert any(CANARY in str(value) for name, value in first.items() if re.fullmatch(r"llm\.input_messages\.\d+\.message\.content", name))
    assert CANARY in json.loads(last["gen_ai.output.messages"])[0]["parts"][0]["content"]
    tool = receiver.named("execute_tool calculate")[0].attributes
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"expression": "42 * 17"}
    assert "714" in tool["gen_ai.tool.call.result"]
    failed = receiver.named("invoke_agent quotes")[0]
    assert failed.failed and CANARY in failed.message
    assert CANARY in log


@pytest.mark.slow
def test_an_attempt_after_a_crash_belongs_to_the_trace_of_the_request(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with start(telemetry=f'otlp_endpoint = "{receiver.url}"') as stack:
        url = stack.start_server()
        first = stack.start_worker()
        body = {"assistant_id": "resumes", "input": {"messages": [{"role": "user", "content": str(mark)}]}}
        run = httpx.post(f"{url}/runs", json=body).json()
        while not mark.exists():
            time.sleep(0.05)
        receiver.until(lambda seen: bool(seen.named("node first")))
        first.kill()
        first.wait()
        stack.start_worker()
        httpx.get(f"{url}/threads/{run['thread_id']}/runs/{run['run_id']}/join", timeout=60).raise_for_status()
        stack.stop()
    (accepted,) = receiver.named("accept run")
    spans = [span for span in receiver.spans if span.attributes.get("freehold.run_id") == run["run_id"]]
    assert {span.trace_id for span in spans} == {accepted.trace_id}
    assert [span.attributes["freehold.attempt"] for span in receiver.named("claim")] == [1, 2]
    (ended,) = receiver.named("invoke_agent resumes")
    assert (ended.attributes["freehold.attempt"], ended.parent_id) == (2, accepted.span_id)


@pytest.mark.slow
def test_an_endpoint_that_is_away_costs_spans_and_nothing_else(start: Start, scripted_model: ScriptedModel) -> None:
    with start(telemetry='otlp_endpoint = "http://127.0.0.1:9"') as stack:
        url = stack.start_server()
        stack.start_worker()
        for _ in range(3):
            assert "714" in ask(url, "assistant", "what is 42 * 17")["messages"][-1]["content"]
        stack.stop()
        log = stack.log()
    assert log.count('"traces_lost"') == 2  # one line of each process, however many spans
    assert [line for line in log.splitlines() if '"level": "error"' in line] == []


@pytest.mark.slow
def test_headers_of_the_endpoint_are_sent_and_never_logged(start: Start, receiver: Receiver) -> None:
    with start(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20s3cret-key") as stack:
        url = stack.start_server()
        httpx.get(f"{url}/info").raise_for_status()
        stack.stop()
        assert "s3cret-key" not in stack.log()
    assert receiver.named("GET /info")
    assert {sent["authorization"] for sent in receiver.headers} == {"Bearer s3cret-key"}


@pytest.mark.parametrize("role", ["server", "worker"])
def test_without_an_endpoint_nothing_that_exports_is_loaded(role: str) -> None:
    program = f"""
import asyncio, sys
import freehold.bootstrap, freehold.server.app
from freehold.config.settings import TelemetrySection
from freehold.telemetry import tracing
async def main():
    async with tracing.exporting(TelemetrySection(), role={role!r}):
        with tracing.span("anything"):
            pass
asyncio.run(main())
ours = ("opentelemetry.exporter", "freehold.telemetry.export", "freehold.telemetry.spans")  # redis-py loads the SDK wherever it is
print([name for name in sys.modules if name.startswith(ours)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
