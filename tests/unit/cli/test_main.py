"""The entry point: what is registered, how errors look, and what they return."""

from __future__ import annotations

import errno
import importlib
import json
import subprocess
import sys
from typing import Any

import pytest
import typer

from freehold.cli import main as module
from freehold.cli.main import COMMANDS, Command, exit_code, main
from freehold.core import errors
from freehold.core.errors import FreeholdError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a command `fail` that raises what the test says."""

    def register(error: BaseException) -> None:
        def fail(json: bool = typer.Option(False, "--json")) -> None:
            raise error

        monkeypatch.setattr(module, "COMMANDS", {"fail": Command("freehold.cli.main:fail", "Fail.")})
        monkeypatch.setattr(module, "fail", fail, raising=False)

    return register


@pytest.mark.parametrize("name", COMMANDS)
def test_every_registered_command_loads_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not module._exists(COMMANDS[name]):
        pytest.fail(f"{name} is in the table but has no module")
    assert main([name, "--help"]) == 0
    assert "Usage: freehold" in capsys.readouterr().out


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name, command in COMMANDS.items() if f"  {name} " not in text or command.about[:20] not in text] == []


def test_a_command_whose_module_is_not_there_is_not_registered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "COMMANDS", {"later": Command("freehold.cli.later:later", "Not yet.")})
    assert main(["later"]) == 2
    assert "No such command 'later'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FreeholdError("x"), 1),
        (errors.NotFound("x"), 1),
        (errors.InvalidRequest("x"), 2),
        (errors.NotSupported("x"), 2),
        (errors.ConfigError("x"), 3),
        (errors.NotConfigured("x"), 3),
        (errors.Unauthenticated("x"), 4),
        (errors.Forbidden("x"), 4),
        (errors.Unhealthy("x"), 5),
        (errors.ModelUnavailable("x"), 5),
        (errors.Incompatible("x"), 6),
        (errors.TimedOut("x"), 7),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_kind_of_error_has_its_exit_code(error: FreeholdError, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_is_a_message_and_a_hint_on_stderr(failing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failing(errors.NotConfigured("no model", hint="set OPENAI_BASE_URL"))
    assert main(["fail"]) == 3
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "error: no model\nhint: set OPENAI_BASE_URL\n")


def test_an_error_is_json_where_json_was_asked_for(failing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failing(errors.Unhealthy("down", hint="freehold up"))
    assert main(["fail", "--json"]) == 5
    seen = capsys.readouterr()
    assert seen.out == ""
    assert json.loads(seen.err) == {"error": {"code": "unhealthy", "message": "down", "hint": "freehold up"}}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nope"], "No such command 'nope'", "`freehold --help`"),
        (["version", "--nope"], "No such option: --nope", "`freehold version --help`"),
        (["up", "--port", "high"], "Invalid value for '--port'", "`freehold up --help`"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    seen = capsys.readouterr().err
    assert message in seen
    assert hint in seen


def test_a_full_disk_is_an_error_with_a_hint(failing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/data/x"))
    assert main(["fail"]) == 1
    assert capsys.readouterr().err == "error: the disk is full: /data/x\nhint: make room, then try again\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()], ids=["Ctrl-C", "answered no"])
def test_an_interruption_returns_130(failing: Any, error: BaseException) -> None:
    failing(error)
    assert main(["fail"]) == 130


def test_a_command_returns_its_own_exit_code(failing: Any) -> None:
    failing(typer.Exit(5))
    assert main(["fail"]) == 5


def test_version_does_not_load_the_heavy_parts() -> None:
    source = (
        "import sys; from freehold.cli.main import main; main(['version']);"
        "print(sorted({'langchain', 'langgraph', 'fastapi', 'psycopg', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "freehold", "version", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["version"] == importlib.import_module("importlib.metadata").version("freehold")
