"""The real LiteLLM in front of scripted models, started by `freehold up`: keys, streams, names, and a second model for the first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.test_native_stack import Folder, free_port

pytestmark = pytest.mark.slow  # 500 MB of packages


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True)
class Gateway:
    """A stack whose default model is away, and the keys of its gateway."""

    folder: Folder
    url: str

    def secret(self, name: str) -> str:
        return (self.folder.home.secrets / name).read_text().strip()

    def ask(self, key: str, model: str = "away", path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "good day"}], **more}
        return httpx.post(f"{self.url}{path}", json=body, headers=bearer(key), timeout=60)


@pytest.fixture(scope="module")
def model_process() -> Iterator[str]:
    """A model in a process of its own: the tests block this one's loop."""
    with subprocess.Popen([sys.executable, "-m", "freehold.lab.scripted_model"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, model_process: str) -> Iterator[Gateway]:
    folder = Folder(tmp_path_factory.mktemp("gateway"), free_port())
    port = free_port()
    (folder.path / "freehold.toml").write_text(
        f'[stack]\nservices = ["gateway"]\n[server]\nport = {folder.port}\nauth = "keys"\n'
        f'[model]\nbase_url = "http://127.0.0.1:{free_port()}/v1"\nname = "away"\n'
        f'[models.spare]\nbase_url = "{model_process}"\nname = "echo"\n'
        f'[gateway]\nport = {port}\nfallback = "spare"\naliases = ["gpt-4o=echo"]\nrequests_per_minute = 1000\n'
    )
    folder.up()
    yield Gateway(folder, f"http://127.0.0.1:{port}")
    folder.run("reset", "--yes")


def test_the_second_model_answers_where_the_first_does_not(gateway: Gateway) -> None:
    answer = gateway.ask(gateway.secret("gateway_key"))
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "You said: good day")


@pytest.mark.parametrize("name", ["echo", "spare", "gpt-4o"], ids=["its own", "that of its section", "an alias"])
def test_a_model_is_reached_by_each_of_its_names(gateway: Gateway, name: str) -> None:
    assert gateway.ask(gateway.secret("gateway_key"), name).status_code == 200


def test_an_answer_is_streamed(gateway: Gateway) -> None:
    lines = gateway.ask(gateway.secret("gateway_key"), "echo", stream=True).text.splitlines()
    pieces = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces) == "You said: good day"
    assert "data: [DONE]" in lines


def test_a_key_of_the_agent_server_opens_it(gateway: Gateway) -> None:
    made = json.loads(gateway.folder.run("keys", "create", "for the gateway", "--json").stdout)
    assert gateway.ask(made["key"], "echo").status_code == 200


@pytest.mark.parametrize("key", ["", "sk-1234", "fh_unknown"])
def test_no_other_key_opens_it(gateway: Gateway, key: str) -> None:
    assert gateway.ask(key, "echo").status_code == 401


@pytest.mark.parametrize("path", ["/key/generate", "/config/update", "/model/new", "/mcp-rest/test/connection", "/v1/files"])
def test_nothing_but_models_is_open_to_a_key(gateway: Gateway, path: str) -> None:
    assert gateway.ask(gateway.secret("gateway_key"), path=path).status_code == 403


def test_its_metrics_have_a_key_of_their_own(gateway: Gateway) -> None:
    gateway.ask(gateway.secret("gateway_key"), "echo")

    def read(key: str) -> httpx.Response:
        return httpx.get(f"{gateway.url}/metrics/", headers=bearer(key))

    assert "litellm_proxy_total_requests_metric_total" in read(gateway.secret("gateway_metrics_key")).text
    assert (read("").status_code, read(gateway.secret("gateway_key")).status_code) == (401, 401)


def test_agents_go_through_it_and_get_the_second_model_too(gateway: Gateway) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{gateway.folder.port}/v1/chat/completions",
        json={"model": "assistant", "messages": [{"role": "user", "content": "What is 12 + 30?"}]},
        headers=bearer(gateway.secret("api_key")),
        timeout=120,
    )
    assert answer.json()["choices"][0]["message"]["content"] == "The result is 12 + 30 = 42."


def test_no_key_of_the_gateway_is_in_its_files_or_its_log(gateway: Gateway) -> None:
    home = gateway.folder.home
    written = [*(home.path / "files" / "gateway").iterdir(), home.stack_file, home.log("gateway")]
    texts = "\n".join(path.read_text() for path in written)
    keys = {name: gateway.secret(name) for name in ("gateway_key", "gateway_metrics_key", "gateway_master_key")}
    assert not [name for name, key in keys.items() if key in texts]


def test_it_asks_nobody_outside(gateway: Gateway) -> None:
    assert "Failed to fetch" not in Path(gateway.folder.home.log("gateway")).read_text()
