"""A native stack with monitoring, kept busy by people who ask, dig, fail and look things up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.support.prometheus import Prometheus

from freehold.stack.monitoring.dashboards import DASHBOARDS

PROJECT = Path(__file__).parent / "langgraph.json"
#: The smallest there is: what it says does not matter here.
MODEL = "smollm2-135m-instruct"
NOTES = "# Greenhouse manual\n\nThe valve of bed seven is opened with the copper key number 4471.\n"
QUESTION = "Which key opens the valve of bed seven?"
#: What people ask of which agent, round and round. The last two fail, in the agent and in its model.
ASKED = (
    ("thinks", "Say one word."),
    ("digs", "0.05"),
    ("digs", "-1"),
    ("fails", "now"),
    ("asks_nobody", "hello?"),
)


def queries(*needs: str | None, uid: str | None = None) -> list[str]:
    """Of all panels whose row needs one of these, of one page or of all."""
    rows = [row for dashboard in DASHBOARDS if uid in (None, dashboard.uid) for row in dashboard.rows if row.needs in needs]
    asked = [query.expr for row in rows for panel in row.panels for query in panel.queries]
    assert asked
    return asked


@dataclass(frozen=True)
class Busy:
    """A stack under load."""

    folder: Path
    url: str
    prometheus: Prometheus

    def freehold(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return freehold(self.folder, *arguments)


def freehold(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "freehold", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ))
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done


def free_ports(count: int) -> list[int]:
    """Free now, and all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def busy(folder: Path, *, services: tuple[str, ...] = ("monitoring",), more: str = "") -> Iterator[Busy]:
    """Starts the stack with a real model, gives it a document, and keeps asking until it is left."""
    server, model, prometheus, *others = free_ports(10)
    names = ("alertmanager", "node", "postgres", "valkey", "nginx", "gpu")
    ports = "\n".join(f"{name} = {port}" for name, port in zip(names, others, strict=False))
    (folder / "freehold.toml").write_text(
        f'[agents]\nconfig = "{PROJECT}"\n[server]\nport = {server}\n[model]\nname = "{MODEL}"\n'
        f"port = {model}\n[limits]\noutput_tokens = 32\n"
        f"[stack]\nservices = {json.dumps(services)}\n[monitoring]\nscrape_seconds = 1\n"
        f"[monitoring.ports]\nprometheus = {prometheus}\n{ports}\n{more}"
    )
    (folder / "manual.md").write_text(NOTES)
    stopping = threading.Event()
    url = f"http://127.0.0.1:{server}"
    asking = [threading.Thread(target=_ask_for_ever, args=(url, stopping, index)) for index in range(2)]
    try:
        freehold(folder, "up", "--detach", "--yes")
        freehold(folder, "ingest", str(folder / "manual.md"))
        for thread in asking:
            thread.start()
        yield Busy(folder, url, Prometheus(f"http://127.0.0.1:{prometheus}"))
    finally:
        stopping.set()
        for thread in asking:
            if thread.ident:
                thread.join()
        freehold(folder, "reset", "--yes")


def _ask_for_ever(url: str, stopping: threading.Event, number: int) -> None:
    asked = ASKED if number else (("assistant", QUESTION), *ASKED)
    with httpx.Client(base_url=url, timeout=120) as client:
        while not stopping.is_set():
            for graph, text in asked:
                if not stopping.is_set():
                    _run(client, graph, text)


def _run(client: httpx.Client, graph: str, text: str) -> None:
    body: dict[str, Any] = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": text}]}, "stream_mode": ["values"]}
    with client.stream("POST", "/runs/stream", json=body) as answer:
        for _ in answer.iter_lines():
            pass
