"""The rendered Compose file with real containers: from TLS at the edge to the model and back, and what happens when parts die."""

from __future__ import annotations

import json
import os
import signal
import time

import httpx
import psutil
import pytest

from tests.containers.conftest import Contained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # the first builds images, for minutes


def test_a_question_goes_through_tls_to_the_model_and_back(contained: Contained) -> None:
    assert contained.ask("Say hello.")


def test_the_official_api_streams_through_the_edge(contained: Contained) -> None:
    with contained.client() as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "assistant", "input": {"messages": [{"role": "user", "content": "Say hello."}]}, "stream_mode": "messages"}
        with client.stream("POST", f"/threads/{thread}/runs/stream", json=body) as answer:
            events = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert events[0] == "metadata"
    assert sum(event.startswith("messages") for event in events) > 1


def test_nothing_but_health_is_open_without_a_key(contained: Contained) -> None:
    with httpx.Client(base_url=contained.url, verify=False) as stranger:
        assert stranger.get("/health").status_code == 200
        assert stranger.post("/threads", json={}).status_code == 401
        for path in ("/metrics", "/docs", "/openapi.json", "/invocations", "/tokenize"):
            assert stranger.get(path).status_code == 404, path
    moved = httpx.get(f"http://localhost:{contained.redirect_port}/threads")
    assert (moved.status_code, moved.headers["location"]) == (301, f"{contained.url}/threads")


def test_only_the_edge_listens_on_the_host(contained: Contained) -> None:
    published = {
        (one["Service"], port["PublishedPort"])
        for one in map(json.loads, contained.compose("ps", "--format", "json").splitlines())
        for port in one["Publishers"]
        if port["PublishedPort"]
    }
    assert published == {("edge", contained.port), ("edge", contained.redirect_port)}
    proxies = [
        connection.laddr
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and _is_docker(connection.pid)
    ]
    assert {(address.ip, address.port) for address in proxies} == {("127.0.0.1", contained.port), ("127.0.0.1", contained.redirect_port)}


def _is_docker(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).name().startswith("docker")
    except psutil.NoSuchProcess:
        return False


def test_no_secret_is_where_others_look(contained: Contained) -> None:
    values = [path.read_text().strip() for path in (contained.folder / "secrets").iterdir()]
    assert len(values) > 5
    running = contained.compose("ps", "--all", "--quiet").split()
    shown = {
        "docker inspect": contained.docker("inspect", *running),
        "docker compose config": contained.compose("config"),
        "logs": contained.compose("logs"),
        "files": "".join(path.read_text(errors="replace") for path in contained.folder.glob("*.yaml")),
    }
    assert [(where, value[:4]) for where, text in shown.items() for value in values if value in text] == []
    assert {path.stat().st_mode & 0o777 for path in (contained.folder / "secrets").iterdir()} == {0o600}


def test_every_container_runs_as_nobody_in_particular_without_capabilities(contained: Contained) -> None:
    told = json.loads(contained.docker("inspect", *contained.compose("ps", "--quiet").split()))
    for container in told:
        host = container["HostConfig"]
        assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), container["Name"]
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], container["Name"]
        assert host["ReadonlyRootfs"], container["Name"]
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), container["Name"]
        assert host["Memory"] and host["PidsLimit"], container["Name"]


def test_stores_and_models_cannot_reach_the_internet(contained: Contained) -> None:
    for service in ("postgres", "valkey", "model"):
        (container,) = contained.containers(service)
        networks = json.loads(contained.docker("inspect", container))[0]["NetworkSettings"]["Networks"]
        assert all(json.loads(contained.docker("network", "inspect", name))[0]["Internal"] for name in networks), service


@pytest.mark.parametrize("service", ["worker", "server", "valkey", "postgres", "model", "edge"])
def test_each_service_that_is_killed_comes_back(contained: Contained, service: str) -> None:
    for container in contained.containers(service):
        pid = json.loads(contained.docker("inspect", container))[0]["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)  # as a crash; `docker kill` counts as meant, and then nothing is restarted
    time.sleep(1)
    contained.until_well()
    assert contained.ask("Say hello.")


def test_a_rotated_key_takes_effect_and_nothing_is_lost(contained: Contained) -> None:
    with contained.client() as client:
        thread = client.post("/threads", json={"metadata": {"kept": True}}).json()["thread_id"]
    before = {name: contained.secret(name) for name in ("postgres_app", "valkey")}
    contained.freehold("secrets", "rotate", *before)
    contained.until_well()
    assert all(contained.secret(name) != value for name, value in before.items())
    with contained.client() as client:
        assert client.get(f"/threads/{thread}").json()["metadata"]["kept"] is True
    assert contained.ask("Say hello.")


def test_the_data_outlives_its_containers(contained: Contained) -> None:
    with contained.client() as client:
        thread = client.post("/threads", json={"metadata": {"kept": True}}).json()["thread_id"]
    contained.compose("down", "--timeout", "20")
    contained.compose("up", "--detach", "--wait")
    with contained.client() as client:
        assert client.get(f"/threads/{thread}").json()["metadata"]["kept"] is True
