"""A Prometheus beside a stack, for what the native stack does not have: with our rules, measuring what it is told."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.integration.instruments.busy import free_ports
from tests.support.prometheus import Prometheus
from tests.support.servers import with_parent

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.stack.monitoring.recording import rules_file
from freehold.targets.native import packages
from freehold.targets.versions import versions


def program(name: str) -> tuple[str, ...]:
    return asyncio.run(packages.ensure(name, versions()[name], paths.cache(), Silent()))


@contextmanager
def running(*command: str) -> Iterator[None]:
    process = subprocess.Popen([*with_parent("KILL"), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def to(port: int) -> str:
    """Target of a job, as YAML."""
    return f"static_configs: [{{targets: ['127.0.0.1:{port}']}}]"


@contextmanager
def measuring(folder: Path, *jobs: str) -> Iterator[Prometheus]:
    """Scrapes these jobs, each a mapping of YAML, once a second."""
    (port,) = free_ports(1)
    (folder / "recording.yml").write_text(rules_file())
    listed = "".join(f"- {job}\n" for job in jobs)
    every = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [recording.yml]\n"
    (folder / "prometheus.yml").write_text(f"{every}scrape_configs:\n{listed}")
    told = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}")
    with running(*program("prometheus"), *told):
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield Prometheus(f"http://127.0.0.1:{port}")


def wait_for(url: str, *, seconds: int = 60) -> None:
    for _ in range(10 * seconds):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        threading.Event().wait(0.1)
    raise AssertionError(f"{url} does not answer")
