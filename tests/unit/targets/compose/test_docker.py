"""What Compose tells about containers, read as values; the lines are what Compose 2.40 printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from freehold.core.errors import NotConfigured
from freehold.targets.compose import docker

RUNNING = json.loads(
    '{"ExitCode":0,"Health":"healthy","ID":"f3","Image":"nginx:1","Name":"x-edge-1","Project":"x","Service":"edge","State":"running",'
    '"Status":"Up 6 seconds (healthy)","Publishers":[{"URL":"127.0.0.1","TargetPort":443,"PublishedPort":18443,"Protocol":"tcp"},'
    '{"URL":"","TargetPort":80,"PublishedPort":0,"Protocol":"tcp"}]}'
)


def changed(**keys: object) -> docker.Container:
    return docker.parse({**RUNNING, **keys})


def test_a_container_is_read() -> None:
    assert docker.parse(RUNNING) == docker.Container("x-edge-1", "edge", "running", "healthy", 0, "Up 6 seconds (healthy)", (18443,))


@pytest.mark.parametrize(
    ("container", "well"),
    [
        (changed(), True),
        (changed(Health=""), True),
        (changed(Health="starting"), False),
        (changed(Health="unhealthy"), False),
        (changed(State="exited", Health="", ExitCode=0), True),
        (changed(State="exited", Health="", ExitCode=1), False),
        (changed(State="restarting", Health=""), False),
        (changed(State="created", Health=""), False),
        (changed(Publishers=None), True),
    ],
)
def test_a_task_that_is_done_is_well_and_a_server_that_ended_is_not(container: docker.Container, well: bool) -> None:
    assert container.is_well is well


async def test_without_docker_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotConfigured, match="Docker is not installed"):
        await docker.version()
    assert await docker.answers() is None
    assert await docker.runtimes() == ()


@pytest.mark.parametrize(
    ("script", "message"),
    [("exit 1", "no Compose plugin"), ("echo 2.3.3", "Compose 2.3.3 is too old"), ("echo v1.29.2", "Compose v1.29.2 is too old")],
)
async def test_a_docker_that_does_not_do_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, message: str) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    with pytest.raises(NotConfigured, match=message):
        await docker.version()
