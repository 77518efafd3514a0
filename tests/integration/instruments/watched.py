"""A native stack whose rules look at seconds instead of minutes, whose services can be kept down, and who hears of its alerts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from tests.integration.instruments.busy import PROJECT, free_ports, freehold
from tests.integration.instruments.rule_cases import Case

from freehold.control.protocol import StackStatus
from freehold.targets.native import run
from freehold.targets.native.home import Home

#: What becomes of the ranges of rules; every alert lasts two seconds.
SECONDS = {"1m": 8, "5m": 10, "10m": 15, "15m": 15, "1h": 20, "6h": 20, "1d": 60}
PATIENCE = 150.0


class Receiver:
    """Hears of alerts as a webhook does: which fire, and which have resolved."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> bytes:
        told = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.heard += [(alert["labels"]["alertname"], alert["status"]) for alert in told["alerts"]]
        return b""


@dataclass
class Exposition:
    """Metrics of what cannot be had here, well or not; counters grow at each scrape."""

    cases: tuple[Case, ...]
    well: bool = True
    counts: dict[str, float] = field(default_factory=dict)

    def answer(self, handler: BaseHTTPRequestHandler) -> bytes:
        lines = []
        for case in self.cases:
            lines += [f"{name} {values[0 if self.well else 1]}" for name, values in case.level.items()]
            for name, rates in case.counter.items():
                self.counts[name] = self.counts.get(name, case.start) + rates[0 if self.well else 1]
                lines.append(f"{name} {self.counts[name]}")
        return ("\n".join(lines) + "\n").encode()


@contextmanager
def answering(port: int, answer: Callable[[BaseHTTPRequestHandler], bytes]) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Watched:
    """A running stack, its Prometheus and its Alertmanager."""

    folder: Path
    url: str
    prometheus: str
    alertmanager: str
    receiver: Receiver

    @property
    def home(self) -> Home:
        return Home(self.folder / ".freehold")

    def secret(self, name: str) -> str:
        return (self.home.secrets / name).read_text().strip()

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-api-key": self.secret("api_key")}

    def firing(self) -> set[str]:
        answer = httpx.get(f"{self.prometheus}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in answer if alert["state"] == "firing"}

    def until_fires(self, *names: str) -> None:
        """All of them, at one time or another."""
        seen: set[str] = set()

        def all_seen() -> bool:
            seen.update(self.firing())
            return set(names) <= seen

        until(all_seen, lambda: f"{set(names) - seen} do not fire")

    def until_resolved(self, *names: str) -> None:
        until(lambda: not (set(names) & self.firing()), lambda: f"{set(names) & self.firing()} do not resolve")

    def status(self) -> StackStatus:
        return asyncio.run(run.status(self.home))

    def pid(self, process: str) -> int | None:
        return next(service.pid for service in self.status().services if service.name == process)

    @contextmanager
    def kept_down(self, process: str) -> Iterator[None]:
        """Killed whenever the supervisor starts it."""
        stopping = threading.Event()

        def kill_for_ever() -> None:
            while not stopping.is_set():
                with suppress(ProcessLookupError):
                    if pid := self.pid(process):
                        os.kill(pid, signal.SIGKILL)
                stopping.wait(0.2)

        thread = threading.Thread(target=kill_for_ever)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def run_graph(self, graph: str, text: str, *, wait: bool = True) -> None:
        body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}}
        httpx.post(f"{self.url}/runs{'/wait' if wait else ''}", json=body, headers=self.headers, timeout=120)

    def reload(self) -> None:
        for name in ("prometheus", "alertmanager"):
            pid = self.pid(name)
            assert pid
            os.kill(pid, signal.SIGHUP)


def until(holds: Callable[[], bool], complaint: Callable[[], str], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.5)


@contextmanager
def watched(folder: Path, exposition: Exposition | None = None) -> Iterator[Watched]:
    """Starts a stack without a model; rules and Alertmanager are told to be quick."""
    server, prometheus, alertmanager, hook, shown, *others = free_ports(8)
    ports = "".join(f"{name} = {port}\n" for name, port in zip(("node", "postgres", "valkey"), others, strict=True))
    (folder / "freehold.toml").write_text(
        f'[agents]\nconfig = "{PROJECT}"\nshipped = false\n[server]\nport = {server}\nauth = "keys"\n[model]\nengine = "none"\n'
        f'[stack]\nservices = ["monitoring"]\n[monitoring]\nscrape_seconds = 2\n'
        f"[monitoring.ports]\nprometheus = {prometheus}\nalertmanager = {alertmanager}\n{ports}"
        f'[monitoring.notify]\nwebhook_url = "http://127.0.0.1:{hook}/alerts"\n'
    )
    receiver = Receiver()
    try:
        freehold(folder, "up", "--detach", "--yes")
        urls = [f"http://127.0.0.1:{port}" for port in (server, prometheus, alertmanager)]
        stack = Watched(folder, *urls, receiver)
        with answering(hook, receiver.answer), answering(shown, exposition.answer if exposition else receiver.answer):
            _hurry(stack.home, shown if exposition else None)
            stack.reload()
            yield stack
    finally:
        freehold(folder, "reset", "--yes")


def _hurry(home: Home, shown: int | None) -> None:
    folder = home.path / "files"
    for name in ("alerts.yml", "recording.yml"):
        path = folder / "prometheus" / name
        text = re.sub(r"\[(\d+[mhd])\]", lambda match: f"[{SECONDS[match[1]]}s]", path.read_text())
        path.write_text(re.sub(r"for: \d+[mh]", "for: 2s", text))
    path = folder / "alertmanager" / "alertmanager.yml"
    path.write_text(path.read_text().replace("group_wait: 30s", "group_wait: 1s").replace("group_interval: 5m", "group_interval: 2s"))
    if shown:
        path = folder / "prometheus" / "prometheus.yml"
        job: dict[str, Any] = {"job_name": "recorded", "static_configs": [{"targets": [f"127.0.0.1:{shown}"]}]}
        path.write_text(f"{path.read_text()}  - {json.dumps(job)}\n")
