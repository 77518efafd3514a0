"""Lines of `status`: state and why, and what a restart was for."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import typer

from freehold.cli import status
from freehold.control.protocol import ServiceStatus

RUNNING = ServiceStatus("server", "agent server", "server", "healthy", None, 812, 0.0, 0, None, 196_000_000, (8123,), "/l")


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, ("server", "healthy", "812", "8123", "1 min 15 s ago", "196 MB", "")),
        ({"ports": (), "memory_bytes": None}, ("server", "healthy", "812", "-", "1 min 15 s ago", "-", "")),
        (
            {"state": "waiting", "why": "needs migrate", "pid": None, "since": None, "memory_bytes": None},
            ("server", "waiting", "-", "8123", "-", "-", "needs migrate"),
        ),
        (
            {"restarts": 1, "ended": "was ended by SIGKILL"},
            ("server", "healthy", "812", "8123", "1 min 15 s ago", "196 MB", "restarted once: it was ended by SIGKILL"),
        ),
        (
            {"state": "restarting", "restarts": 3, "ended": "ended with exit code 1", "why": "ended with exit code 1"},
            ("server", "restarting", "812", "8123", "1 min 15 s ago", "196 MB", "ended with exit code 1; restarted 3 times"),
        ),
    ],
    ids=["well", "no port", "waiting", "restarted", "restarting"],
)
def test_a_service_is_a_row(changes: dict[str, object], row: tuple[str, ...]) -> None:
    service = dataclasses.replace(RUNNING, **{"since": time.time() - 75, **changes})  # type: ignore[arg-type]
    assert status._row(service) == row


async def test_no_stack_is_said_on_stdout_and_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(tmp_path / "none"))
    with pytest.raises(typer.Exit) as ending:
        await status.status(json=False)
    assert ending.value.exit_code == 5
    assert capsys.readouterr().out == "not running; start it with `freehold up`\n"


async def test_freehold_alone_without_a_stack_says_what_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(tmp_path / "none"))
    await status.overview()
    assert "freehold up --detach" in capsys.readouterr().out
