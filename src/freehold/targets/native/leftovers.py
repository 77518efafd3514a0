"""What runs, written down: so that after a crash of the supervisor its children are recognised by pid and start time, and ended.

A pid alone is no proof, because the system gives it to somebody else after a while; pid and start time together are.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

#: Two readings of the same process's start time may differ by the step of a clock being set.
_SAME_SECONDS = 2.0


@dataclass(frozen=True)
class Child:
    """A process we started."""

    name: str
    pid: int
    started: float  # Unix time, as the system tells it
    stop_signal: str = "SIGTERM"
    grace_seconds: float = 10.0

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: str, grace_seconds: float) -> Child | None:
        """None where it has ended already."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time(), stop_signal, grace_seconds)
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """The live process, or None where it is gone or its pid belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_SECONDS and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None


def write(path: Path, children: Iterable[Child]) -> None:
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps([asdict(child) for child in children], indent=1), encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> list[Child]:
    """What was written last; nothing where the file is missing or was torn by a full disk."""
    try:
        return [Child(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def end(children: Iterable[Child]) -> list[str]:
    """End those that still live, all at once, and wait; return their names. Stubborn ones are killed after their grace time."""
    alive = [(child, process) for child in children if (process := child.process())]
    families = [process for _, root in alive for process in _family(root)]
    for child, process in alive:
        _signal(process, signal.Signals[child.stop_signal])
    grace = max((child.grace_seconds for child, _ in alive), default=0)
    _, stubborn = psutil.wait_procs([process for _, process in alive], timeout=grace)
    for process in [*stubborn, *families]:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs([*stubborn, *families], timeout=10)
    return [child.name for child, _ in alive]


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    if process.pid == os.getpid():
        return
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
