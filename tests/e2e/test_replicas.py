"""Two servers of one model behind the balancer: answers come from both in turn, and from the other one while one is away."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.e2e.conftest import Stack, free_port

pytestmark = pytest.mark.slow

_ASKED = re.compile(r"^llamacpp:prompt_tokens_total (\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("replicas"), free_port(), free_port())
    lines = [
        '[model]\nname = "smollm2-135m-instruct"\nreplicas = 2\nparallel = 1\ncontext = 2048\nthreads = 1',
        f"replica_port = {free_port()}\n[models.other]\nengine = 'openai'\nname = 'elsewhere'\nbase_url = 'http://127.0.0.1:9/v1'",
    ]
    (stack.folder / "freehold.toml").write_text("\n".join(lines))
    try:
        stack.up()
        yield stack
    finally:
        stack.run("reset", "--yes", check=False)


def key(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {(stack.folder / '.freehold' / 'secrets' / 'model_key').read_text().strip()}"}


def ask(stack: Stack, **more: object) -> httpx.Response:
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 4,
        "cache_prompt": False,
    }
    url = f"http://127.0.0.1:{stack.model_port}/v1/chat/completions"
    return httpx.post(url, json={**body, **more}, headers=key(stack), timeout=120)


def asked(stack: Stack) -> dict[str, int]:
    """Tokens of prompts that each server has read."""
    services = {service["name"]: service for service in json.loads(stack.run("status", "--json", check=False).stdout)["services"]}
    urls = {name: f"http://127.0.0.1:{services[name]['ports'][0]}/metrics" for name in ("model-1", "model-2")}
    found = {name: _ASKED.search(httpx.get(url, headers=key(stack), timeout=30).text) for name, url in urls.items()}
    return {name: int(match[1]) for name, match in found.items() if match}


def test_answers_come_from_both_servers_in_turn(replicas: Stack) -> None:
    before = asked(replicas)
    assert [ask(replicas).status_code for _ in range(4)] == [200] * 4
    after = asked(replicas)
    read = [after[name] - before[name] for name in ("model-1", "model-2")]
    assert read[0] == read[1] > 0


def test_a_stream_passes_through_piece_by_piece(replicas: Stack) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 8, "stream": True}
    url = f"http://127.0.0.1:{replicas.model_port}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=key(replicas), timeout=120) as answer:
        pieces = [piece for piece in answer.iter_raw() if b"data: " in piece]
    assert len(pieces) > 3


def test_the_balancer_lets_nothing_through_but_the_api(replicas: Stack) -> None:
    url = f"http://127.0.0.1:{replicas.model_port}"
    paths = ("/metrics", "/slots", "/props", "/tokenize", "/v1/../metrics", "/v1/%2e%2e/metrics", "//metrics")
    assert {path: httpx.get(url + path, headers=key(replicas)).status_code for path in paths} == dict.fromkeys(paths, 404)
    assert httpx.get(f"{url}/v1/models").status_code in (200, 401)
    assert httpx.post(f"{url}/v1/chat/completions", json={}).status_code == 401
    assert httpx.get(f"{url}/health").status_code == 200


def test_while_one_server_is_away_the_other_answers_and_the_first_comes_back(replicas: Stack) -> None:
    services = {service["name"]: service for service in json.loads(replicas.run("status", "--json").stdout)["services"]}
    os.kill(services["model-1"]["pid"], signal.SIGKILL)
    assert [ask(replicas).status_code for _ in range(6)] == [200] * 6
    while not json.loads(replicas.run("status", "--json", check=False).stdout)["healthy"]:
        time.sleep(0.2)
    while asked(replicas)["model-1"] == 0:
        assert ask(replicas).status_code == 200


def test_agents_are_told_of_every_model(replicas: Stack) -> None:
    worker = next(
        process
        for process in json.loads((replicas.folder / ".freehold" / "native" / "stack.json").read_text())["processes"]
        if process["name"] == "worker"
    )
    assert worker["env"]["OPENAI_BASE_URL"] == f"http://127.0.0.1:{replicas.model_port}/v1"
    assert worker["env"]["FREEHOLD_MODEL_OTHER_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert worker["env"]["FREEHOLD_MODEL_OTHER_NAME"] == "elsewhere"
