"""A server and workers as the processes they really are, started with `freehold serve` and `freehold worker`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 90


class Processes:
    """Server and workers over one database and one Valkey; as a context manager it ends them all.

    Args:
        config: text of freehold.toml.
        environ: variables beside DATABASE_URL and REDIS_URL.
    """

    def __init__(self, folder: Path, database_url: str, redis_url: str, *, config: str, environ: dict[str, str]) -> None:
        self.folder = folder
        self.metrics = folder / "metrics"
        self.metrics.mkdir()
        (folder / "freehold.toml").write_text(config)
        self._environ = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics),
            **environ,
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def start_server(self) -> str:
        """Start a server; its URL, once it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        url = f"http://127.0.0.1:{port}"
        process = self._start("serve", "--port", str(port))
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.1)
        return url

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; back once it takes work."""
        before = len(self.ready_lines())
        process = self._start("worker")
        deadline = time.monotonic() + START_SECONDS
        while len(self.ready_lines()) == before:
            assert process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.1)
        return process

    def stop(self) -> None:
        """End all in order, so that everything they had to say is said."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(60)

    def log(self) -> str:
        """Everything all of them logged."""
        return "".join(path.read_text(errors="replace") for path in self._logs)

    def ready_lines(self) -> list[str]:
        return re.findall(r"worker_ready", self.log())

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        path = self.folder / f"{arguments[0]}-{len(self._logs)}.log"
        self._logs.append(path)
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "freehold", *arguments], cwd=self.folder, env=self._environ, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ok", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


class Scrape:
    """What /metrics says, by name and labels."""

    def __init__(self, url: str) -> None:
        text = httpx.get(f"{url}/metrics", timeout=20).raise_for_status().text
        self.text = text
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    def value(self, name: str, **labels: Any) -> float:
        """Sum of the samples of this name that have these labels; 0 where there is none."""
        return sum(value for given, value in self._samples.get(name, []) if labels.items() <= given.items())

    def labels(self, name: str) -> set[str]:
        """Names of the labels a metric has."""
        return {label for given, _ in self._samples.get(name, []) for label in given}
