"""Each metric after known work, as a server that shares a folder with a worker shows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.conftest import make_database
from tests.integration.telemetry.conftest import PROJECT
from tests.support.processes import Processes, Scrape
from tests.support.servers import PostgresServer, ValkeyServer

from freehold.lab.scripted_model import ScriptedModel
from freehold.lab.scripted_model.script import Call, Rule, Script
from freehold.storage.migrate import migrate, provision

WAIT_SECONDS = 30

TALK = Script(
    rules=(
        Rule(user="fail", failure="500"),
        Rule(user="hang", failure="hang"),
        Rule(tool_results=1, text="It is {tool_result}."),
        Rule(user="calculate wrongly", offers="calculate", calls=(Call(name="calculate", arguments={"expression": "1 / 0"}),)),
        Rule(user="calculate nothing", offers="calculate", calls=(Call(name="calculate", arguments={}),)),
        Rule(user="calculate", offers="calculate", calls=(Call(name="calculate", arguments={"expression": "42 * 17"}),)),
        Rule(user="double thirteen", offers="double", calls=(Call(name="double", arguments={"number": 13}),)),
        Rule(user="double", offers="double", calls=(Call(name="double", arguments={"number": 2}),)),
        Rule(text="one two three"),
    )
)


@dataclass
class Stack:
    """A server with its worker."""

    processes: Processes
    url: str
    model: ScriptedModel

    def scrape(self) -> Scrape:
        return Scrape(self.url)

    def ask(self, graph: str, text: str, how: str = "wait", **more: Any) -> Any:
        body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}, **more}
        answer = httpx.post(f"{self.url}/runs/{how}", json=body, timeout=60).raise_for_status()
        return answer.text if how == "stream" else answer.json()

    def start(self, graph: str, text: str) -> str:
        """Path of a run that is executed in the background."""
        run = httpx.post(
            f"{self.url}/runs", json={"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}}
        ).json()
        return f"{self.url}/threads/{run['thread_id']}/runs/{run['run_id']}"

    def until(self, condition: Callable[[Scrape], bool]) -> Scrape:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition(seen := self.scrape()):
            assert time.monotonic() < deadline, seen.text
            time.sleep(0.1)
        return seen


@dataclass
class Difference:
    """What some work added to the metrics."""

    before: Scrape
    after: Scrape

    def __call__(self, name: str, **labels: str) -> float:
        return self.after.value(name, **labels) - self.before.value(name, **labels)


@pytest.fixture(scope="module")
def running(
    postgres: PostgresServer, valkey: ValkeyServer, _scripted_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE metrics TEMPLATE freehold_template OWNER freehold_owner")
    database_url = postgres.url("metrics", "freehold_app", "app-secret")
    config = f'[agents]\nconfig = "{PROJECT}"\n[worker]\nlease_seconds = 2\n'
    environ = {"OPENAI_BASE_URL": _scripted_model.base_url, "OPENAI_API_KEY": "none", "FREEHOLD_MODEL": "scripted"}
    with Processes(tmp_path_factory.mktemp("metrics"), database_url, valkey.url, config=config, environ=environ) as processes:
        url = processes.start_server()
        processes.start_worker()
        stack = Stack(processes, url, _scripted_model)
        # The worker reads the agent's prompt to the model once, which is a call like any other.
        stack.until(lambda seen: seen.value("llm_inference_duration_seconds_count", model="scripted") == 1)
        yield stack


@pytest.fixture
def stack(running: Stack, scripted_model: ScriptedModel) -> Stack:
    scripted_model.use(TALK)
    return running


def usage(answer: dict[str, Any]) -> tuple[int, int]:
    """What the model said it read and wrote in all calls of an answer."""
    told = [message["usage_metadata"] for message in answer["messages"] if message.get("usage_metadata")]
    return sum(item["input_tokens"] for item in told), sum(item["output_tokens"] for item in told)


@pytest.mark.parametrize(("graph", "model"), [("assistant", "scripted"), ("plain", "plain-model")])
def test_a_model_call_counts_its_tokens_and_seconds(stack: Stack, graph: str, model: str) -> None:
    before = stack.scrape()
    answer = stack.ask(graph, "hello")
    added = Difference(before, stack.scrape())
    read, written = usage(answer)
    assert read > 0 and written > 0
    assert added("llm_tokens_input_total", model=model) == read
    assert added("llm_tokens_generated_total", model=model) == written
    assert added("llm_inference_duration_seconds_count", model=model) == 1
    assert added("llm_inference_errors_total") == 0
    assert added.after.value("llm_active_requests", model=model) == 0


@pytest.mark.parametrize(("graph", "model"), [("assistant", "scripted"), ("plain", "plain-model")])
def test_a_streamed_call_tells_when_its_first_token_came(stack: Stack, graph: str, model: str) -> None:
    before = stack.scrape()
    stack.ask(graph, "hello", "stream", stream_mode=["messages-tuple"])
    added = Difference(before, stack.scrape())
    assert added("llm_time_to_first_token_seconds_count", model=model) == 1
    assert 0 < added("llm_time_to_first_token_seconds_sum", model=model) <= added("llm_inference_duration_seconds_sum", model=model)
    assert added("llm_tokens_generated_total", model=model) > 0


@pytest.mark.parametrize(("graph", "model"), [("assistant", "scripted"), ("plain", "plain-model")])
def test_a_model_call_that_fails_is_an_error_of_its_type(stack: Stack, graph: str, model: str) -> None:
    before = stack.scrape()
    stack.ask(graph, "fail")
    added = Difference(before, stack.scrape())
    assert added("llm_inference_errors_total", model=model, error_type="model_error") == 1
    assert added("llm_inference_errors_total") == 1
    assert added("llm_tokens_generated_total") == 0
    assert added.after.value("llm_active_requests") == 0


@pytest.mark.parametrize(("graph", "model"), [("assistant", "scripted"), ("plain", "plain-model")])
def test_a_call_under_way_is_active_and_a_cancelled_one_neither_error_nor_duration(stack: Stack, graph: str, model: str) -> None:
    before = stack.scrape()
    run = stack.start(graph, "hang")
    stack.until(lambda seen: seen.value("llm_active_requests", model=model) == 1)
    httpx.post(f"{run}/cancel", params={"wait": True}, timeout=60).raise_for_status()
    added = Difference(before, stack.until(lambda seen: seen.value("llm_active_requests", model=model) == 0))
    assert added("llm_inference_errors_total") == 0
    assert added("llm_inference_duration_seconds_count") == 0
    assert added("freehold_runs_total", graph=graph, status="interrupted") == 1


@pytest.mark.parametrize(
    ("graph", "tool", "text", "outcome"),
    [
        ("assistant", "calculate", "calculate", "ok"),
        ("assistant", "calculate", "calculate wrongly", "error"),
        ("assistant", "calculate", "calculate nothing", "invalid"),
        ("plain", "double", "double", "ok"),
        ("plain", "double", "double thirteen", "error"),
    ],
)
def test_a_tool_call_is_counted_once_by_its_outcome(stack: Stack, graph: str, tool: str, text: str, outcome: str) -> None:
    before = stack.scrape()
    stack.ask(graph, text)
    added = Difference(before, stack.scrape())
    assert added("freehold_tool_calls_total", tool=tool, outcome=outcome) == 1
    assert added("freehold_tool_calls_total", tool=tool) == 1
    assert added("freehold_tool_duration_seconds_count", tool=tool) == 1


def test_a_run_counts_by_graph_and_status_with_its_supersteps(stack: Stack) -> None:
    before = stack.scrape()
    stack.ask("plain", "double")
    stack.ask("quotes", "anything")
    added = Difference(before, stack.scrape())
    assert added("freehold_runs_total", graph="plain", status="success") == 1
    assert added("freehold_runs_total", graph="quotes", status="error") == 1
    assert added("freehold_runs_total") == 2
    assert added("freehold_run_duration_seconds_count", graph="plain") == 1
    assert added("freehold_step_duration_seconds_count", graph="plain") == 3  # talk, tools, talk
    assert added("freehold_step_duration_seconds_count", graph="quotes") == 0


def test_what_waits_and_what_streams_is_seen(stack: Stack) -> None:
    quiet = stack.scrape()
    assert (quiet.value("freehold_queue_depth"), quiet.value("freehold_queue_age_seconds")) == (0, 0)
    assert (quiet.value("freehold_active_threads"), quiet.value("freehold_open_streams")) == (0, 0)
    assert quiet.value("freehold_checkpoint_bytes") > 0
    thread = httpx.post(f"{stack.url}/threads", json={}).json()["thread_id"]
    body = {"assistant_id": "plain", "input": {"messages": [{"role": "user", "content": "hang"}]}}
    runs = [httpx.post(f"{stack.url}/threads/{thread}/runs", json=body).json()["run_id"] for _ in range(3)]
    with httpx.stream("GET", f"{stack.url}/threads/{thread}/runs/{runs[0]}/stream", timeout=30):
        busy = stack.until(lambda seen: seen.value("freehold_queue_depth") == 2 and seen.value("freehold_open_streams") == 1)
        assert busy.value("freehold_active_threads") == 1
        assert stack.until(lambda seen: seen.value("freehold_queue_age_seconds") > 0)
    for run in reversed(runs):
        httpx.post(f"{stack.url}/threads/{thread}/runs/{run}/cancel", params={"wait": True}, timeout=60)
    stack.until(lambda seen: seen.value("freehold_open_streams") == 0 and seen.value("freehold_active_threads") == 0)


@pytest.mark.slow
async def test_while_the_database_is_away_the_queue_is_unknown_and_the_rest_is_told(tmp_path: Path, valkey: ValkeyServer) -> None:
    server = PostgresServer()
    try:
        server.create()
        database = make_database(server, "away")
        await provision(server.url("postgres"), owner_url=database.owner_url, app_url=database.app_url, reader_url=None)
        await migrate(database.owner_url, app_role="freehold_app")
        with Processes(tmp_path, database.app_url, valkey.url, config=f'[agents]\nconfig = "{PROJECT}"\n', environ={}) as processes:
            url = processes.start_server()
            assert Scrape(url).value("freehold_queue_depth") == 0
            server.stop()
            away = Scrape(url)
            assert math.isnan(away.value("freehold_queue_depth")) and math.isnan(away.value("freehold_checkpoint_bytes"))
            assert away.value("freehold_open_streams") == 0
    finally:
        server.remove()


def test_labels_are_those_that_dashboards_are_written_against(stack: Stack) -> None:
    stack.ask("assistant", "calculate")
    stack.ask("assistant", "fail")
    seen = stack.scrape()
    for name in ("llm_tokens_generated_total", "llm_tokens_input_total", "llm_inference_duration_seconds_count", "llm_active_requests"):
        assert seen.labels(name) == {"model"}
    assert seen.labels("llm_inference_errors_total") == {"model", "error_type"}
    assert seen.labels("freehold_runs_total") == {"graph", "status"}
    assert seen.labels("freehold_tool_calls_total") == {"tool", "outcome"}
    for name in ("freehold_queue_depth", "freehold_queue_age_seconds", "freehold_active_threads", "freehold_open_streams"):
        assert seen.labels(name) == set()


def test_what_a_killed_worker_had_under_way_is_forgotten_and_what_it_counted_is_kept(stack: Stack) -> None:
    counted = stack.scrape().value("llm_tokens_generated_total")
    second = stack.processes.start_worker()
    run = stack.start("plain", "hang")
    other = stack.start("plain", "hang")
    stack.until(lambda seen: seen.value("llm_active_requests") >= 2)
    second.kill()
    second.wait()
    for path in (run, other):
        httpx.post(f"{path}/cancel", params={"wait": True}, timeout=60)
    seen = stack.until(lambda seen: seen.value("llm_active_requests") == 0)
    assert seen.value("llm_tokens_generated_total") >= counted
    assert len(list(Path(stack.processes.metrics).glob("*.alive"))) == 2
