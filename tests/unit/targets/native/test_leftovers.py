"""What runs is written down, and only what is provably ours is ever ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from freehold.targets.native import leftovers
from freehold.targets.native.leftovers import Child


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_the_list_survives_its_file(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    child = Child.of("a", sleeper.pid, "SIGINT", 3.0)
    assert child is not None
    leftovers.write(tmp_path / "p.json", [child])
    assert leftovers.read(tmp_path / "p.json") == [child]


@pytest.mark.parametrize("text", [None, "", "[{", '[{"pid": 1}]', "7"])
def test_a_list_that_is_missing_or_torn_is_empty(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text)
    assert leftovers.read(tmp_path / "p.json") == []


def test_a_live_child_is_ended_and_named(sleeper: subprocess.Popen[bytes]) -> None:
    child = Child.of("a", sleeper.pid, "SIGTERM", 5.0)
    assert child is not None
    assert leftovers.end([child]) == ["a"]
    assert child.process() is None


def test_a_stubborn_child_and_its_children_are_killed() -> None:
    source = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        child = Child.of("a", parent.pid, "SIGTERM", 0.1)
        assert child is not None
        leftovers.end([child])
    assert child.process() is None
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_a_pid_with_another_start_time_is_somebody_else(sleeper: subprocess.Popen[bytes]) -> None:
    child = Child("a", sleeper.pid, psutil.Process(sleeper.pid).create_time() - 60)
    assert child.process() is None
    assert leftovers.end([child]) == []
    assert sleeper.poll() is None


def test_a_pid_that_is_gone_is_nobody() -> None:
    with subprocess.Popen(["true"]) as short:
        pid = short.pid
    assert Child.of("a", pid, "SIGTERM", 1.0) is None
