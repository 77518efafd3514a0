"""Services that one asks for, natively: Phoenix, MLflow with SeaweedFS, SearXNG and PgBouncer, all in one real stack.

Slow for what is installed once: about 600 MB.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from tests.support import pgbouncer
from tests.support.stack_folder import Folder, free_port, make_folder

from freehold.lab.scripted_model import ScriptedModel
from freehold.targets.native.connections import connections

pytestmark = pytest.mark.slow

CANARY = "xylophone-4711"


class Stack:
    """A running stack with all of them, and where each is reached."""

    def __init__(self, folder: Folder, ports: dict[str, int]) -> None:
        self.folder = folder
        self.phoenix, self.mlflow, self.searxng = (f"http://127.0.0.1:{ports[name]}" for name in ("phoenix", "mlflow", "searxng"))

    def spans(self, at_least: int) -> list[dict[str, Any]]:
        """What Phoenix shows of this stack's traces; they come a moment after the run."""
        found: list[dict[str, Any]] = []
        while len(found) < at_least:
            time.sleep(0.2)
            answer = httpx.get(f"{self.phoenix}/v1/projects/beside/spans", params={"limit": 500})
            found = answer.json()["data"] if answer.status_code == 200 else []
        return found


def free_block(size: int) -> int:
    """The first of some free ports in a row, whose gRPC twins (+10000) are ports too."""
    while True:
        first = free_port() % 40_000 + 10_000
        taken = {connection.laddr.port for connection in psutil.net_connections("tcp") if connection.laddr}
        if not taken & {port + more for port in range(first, first + size) for more in (0, 10_000)}:
            return first


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, _scripted_model: ScriptedModel) -> Iterator[Stack]:
    ports = {name: free_port() for name in ("phoenix", "metrics", "mlflow", "searxng")} | {"files": free_block(5)}
    more = f"""
[stack]
name = "beside"
services = ["tracing", "experiments", "search", "pooler"]
[tracing]
port = {ports["phoenix"]}
metrics_port = {ports["metrics"]}
[experiments]
port = {ports["mlflow"]}
files_port = {ports["files"]}
[search]
port = {ports["searxng"]}
engines = ["wikipedia"]
timeout_seconds = 1
"""
    folder = make_folder(tmp_path_factory.mktemp("beside"), more)
    config = folder.path / "freehold.toml"
    config.write_text(config.read_text().replace('engine = "none"', f'base_url = "{_scripted_model.base_url}"\nname = "scripted"'))
    binary = folder.path / "bin" / "pgbouncer"
    binary.parent.mkdir()
    binary.symlink_to(pgbouncer.find())
    folder.run("up", "--detach", PATH=f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    yield Stack(folder, ports)
    folder.run("reset", "--yes")


def test_a_run_with_a_tool_is_one_tree_in_phoenix_with_tokens_and_time(stack: Stack) -> None:
    body = {"assistant_id": "assistant", "input": {"messages": [{"role": "user", "content": f"{CANARY}: what is 42 * 17"}]}}
    answer = httpx.post(f"http://127.0.0.1:{stack.folder.port}/runs/wait", json=body, timeout=60).json()
    assert "714" in answer["messages"][-1]["content"]
    spans = stack.spans(15)
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    tree = {(names.get(span["parent_id"], ""), span["name"], span["span_kind"]) for span in spans}
    assert tree >= {
        ("", "POST /runs/wait", "CHAIN"),
        ("POST /runs/wait", "accept run", "CHAIN"),
        ("accept run", "invoke_agent assistant", "AGENT"),
        ("invoke_agent assistant", "node model", "CHAIN"),
        ("node model", "chat scripted", "LLM"),
        ("node tools", "execute_tool calculate", "TOOL"),
    }
    for chat in (span for span in spans if span["name"] == "chat scripted"):
        assert chat["attributes"]["llm.token_count.prompt"] > 0 < chat["attributes"]["llm.token_count.completion"]
        assert chat["start_time"] < chat["end_time"]
    assert CANARY not in json.dumps(spans)  # telemetry.content is off


def test_phoenix_answers_to_its_own_name_only(stack: Stack) -> None:
    assert httpx.get(stack.phoenix, headers={"host": "rebound.example"}).status_code == 400
    stranger = {"origin": "http://rebound.example"}
    assert httpx.post(f"{stack.phoenix}/graphql", headers=stranger, json={"query": "{ __typename }"}).status_code == 401


def test_nothing_of_the_stack_listens_beyond_loopback(stack: Stack) -> None:
    family = [
        child for pid in stack.folder.pids().values() for child in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    ]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_files_of_a_run_go_through_mlflow_into_the_store_and_come_back(stack: Stack) -> None:
    api = f"{stack.mlflow}/api/2.0"
    experiment = httpx.post(f"{api}/mlflow/experiments/create", json={"name": "first"}).raise_for_status().json()["experiment_id"]
    run = httpx.post(f"{api}/mlflow/runs/create", json={"experiment_id": experiment}).raise_for_status().json()["run"]["info"]
    assert run["artifact_uri"] == f"mlflow-artifacts:/{experiment}/{run['run_id']}/artifacts"
    place = f"{api}/mlflow-artifacts/artifacts/{experiment}/{run['run_id']}/artifacts/note.txt"
    httpx.put(place, content=b"kept", timeout=30).raise_for_status()
    assert httpx.get(place, timeout=30).text == "kept"


def test_mlflow_answers_to_its_own_name_only(stack: Stack) -> None:
    assert httpx.get(stack.mlflow, headers={"host": "rebound.example"}).status_code == 403


def test_searxng_answers_programs_and_says_which_engine_is_silent(stack: Stack) -> None:
    answer = httpx.get(f"{stack.searxng}/search", params={"q": "freehold", "format": "json"}, timeout=30).raise_for_status().json()
    assert answer["query"] == "freehold"
    assert answer["results"] or [name for name, _ in answer["unresponsive_engines"]] == ["wikipedia"]


def test_server_and_worker_reach_the_database_through_the_pooler(stack: Stack) -> None:
    urls = connections(stack.folder.home.path)
    assert "port=6432" in urls.database_url and "6432" not in urls.migration_url
    with psycopg.connect(urls.database_url, autocommit=True) as first, psycopg.connect(urls.database_url, autocommit=True) as second:
        server = "SELECT pg_backend_pid()"
        assert first.execute(server).fetchone() == second.execute(server).fetchone()  # one connection for both, one after the other
    with psycopg.connect(urls.migration_url, autocommit=True) as direct:
        found = direct.execute("SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'freehold-%'").fetchall()
    assert {name for (name,) in found} >= {"freehold_app"}


def test_no_secret_is_in_a_command_line_a_log_or_the_rendered_stack(stack: Stack) -> None:
    home = stack.folder.home
    words = [path.read_text().strip() for path in home.secrets.iterdir()]
    seen = [" ".join(psutil.Process(pid).cmdline()) for pid in stack.folder.pids().values()]
    seen += [path.read_text(errors="replace") for path in (*home.logs.iterdir(), home.stack_file)]
    assert not [word for word in words for text in seen if word in text]
