"""One stack in containers for all tests of this folder: minutes to build, seconds to ask."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from freehold.config import paths
from tests.containers import standins
from tests.containers.daemon import Docker, daemon
from tests.support.stack_folder import free_port

MODELS = ("smollm2-135m-instruct", "all-minilm-l6-v2")

TOML = """\
[stack]
name = "contained"
target = "compose"
services = ["edge"]

[machine]
cpus = 2
memory_gb = 8
gpus = []

[model]
name = "smollm2-135m-instruct"
context = 4096

[worker]
count = 2

[edge]
host = "127.0.0.1"
names = ["localhost"]
port = {port}
redirect_port = {redirect}
"""


@dataclass(frozen=True)
class Contained:
    """A stack that runs in containers, seen as its operator does."""

    docker: Docker
    home: Path
    port: int
    redirect_port: int

    @property
    def folder(self) -> Path:
        return self.home / "compose"

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def client(self) -> httpx.Client:
        """Through the edge, with the first key; the certificate is self-signed."""
        headers = {"x-api-key": self.secret("api_key")}
        return httpx.Client(base_url=self.url, verify=False, headers=headers, timeout=180)

    def compose(self, *arguments: str, check: bool = True) -> str:
        files = ["--file", str(self.folder / "compose.yaml"), "--file", str(self.folder / "compose.override.yaml")]
        return self.docker("compose", *files, *arguments, check=check)

    def freehold(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "freehold", *arguments],
            cwd=self.home.parent,
            env={**self.docker.environment, "FREEHOLD_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"freehold {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def is_well(self) -> bool:
        lines = [json.loads(line) for line in self.compose("ps", "--format", "json").splitlines() if line.strip()]
        return bool(lines) and all(one["State"] == "running" and one["Health"] in ("", "healthy") for one in lines)

    def until_well(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_well():
            assert time.monotonic() < deadline, self.compose("ps", "--all")
            time.sleep(0.5)

    def ask(self, question: str) -> str:
        with self.client() as client:
            answer = client.post("/chat", json={"message": question})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["response"])


@pytest.fixture(scope="session")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    """`freehold render compose`, then what its last line says, in a Docker daemon of our own."""
    cache = paths.cache() / "tests" / "containers"
    cache.mkdir(parents=True, exist_ok=True)
    work = tmp_path_factory.mktemp("contained")
    home = work / ".freehold"
    with daemon(work / "docker", cache) as docker:
        standins.build(docker, ["postgres", "valkey", "nginx", "llama-server"], cache, work / "images")
        stack = Contained(docker, home, free_port(), free_port())
        (work / "freehold.toml").write_text(TOML.format(port=stack.port, redirect=stack.redirect_port))
        authorities = standins.certificates()
        trust = ["--extra-ca", str(authorities)] if authorities else []
        stack.freehold("render", "compose", "--out", str(stack.folder), *trust)
        _build_with_the_network_of_the_host(stack)
        stack.compose("build")
        _put_models(stack)
        stack.compose("up", "--detach", "--wait")
        yield stack
        stack.compose("down", "--volumes", "--timeout", "5")


def _build_with_the_network_of_the_host(stack: Contained) -> None:
    """Where a package index is reached through the host alone; a person's own compose.override.yaml may say the same."""
    services = json.loads(stack.docker("compose", "--file", str(stack.folder / "compose.yaml"), "config", "--format", "json"))["services"]
    built = [name for name, service in services.items() if "build" in service]
    lines = "".join(f"  {name}:\n    build:\n      network: host\n" for name in built)
    (stack.folder / "compose.override.yaml").write_text(f"services:\n{lines}")


def _put_models(stack: Contained) -> None:
    """Into the volume that `fetch` fills: it finds them and asks no hub."""
    stack.freehold("models", "pull", *MODELS)
    volume = "contained_models"
    stack.compose("create", "--no-build", "owners")
    source = paths.cache() / "models"
    wanted = " ".join(f"/source/{name}" for name in MODELS)
    command = f"mkdir -p /volume/models && cp -a {wanted} /volume/models/ && chown -R {os.getuid() or 10001} /volume"
    stack.docker("run", "--rm", "-v", f"{volume}:/volume", "-v", f"{source}:/source:ro", standins.BASE, "sh", "-c", command)
    shutil.rmtree(stack.home.parent / "images", ignore_errors=True)
