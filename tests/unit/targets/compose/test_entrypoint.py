"""The entrypoints of containers, run as they are by what runs them there; only the folders are others."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

FOLDER = files("freehold.targets.compose")
#: File -> what runs it.
INTERPRETERS = {"entrypoint.sh": "/bin/sh", "entrypoint.py.txt": sys.executable}


class Container:
    """A folder that stands for the root of a container."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.interpreter = root, INTERPRETERS[name]
        (root / "secrets").mkdir()
        (root / "run").mkdir()
        text = (FOLDER / name).read_text().replace("/run/secrets", str(root / "secrets")).replace("/run/freehold", str(root / "run"))
        (root / "entrypoint").write_text(text)

    def secret(self, name: str, text: str) -> None:
        (self.root / "secrets" / name).write_text(text)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [self.interpreter, str(self.root / "entrypoint"), *command]
        return subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, check=False)


@pytest.fixture(params=INTERPRETERS)
def container(tmp_path: Path, request: pytest.FixtureRequest) -> Container:
    return Container(tmp_path, request.param)


def test_variables_are_filled_wherever_secrets_stand_in_them(container: Container) -> None:
    container.secret("a", "one\n")
    container.secret("b", "two")
    done = container.run("env", URL="x://{{secret:a}}:{{secret:b}}@h/{{secret:a}}?q=$HOME", FREEHOLD_FILL_ENV="URL")
    assert done.returncode == 0, done.stderr
    assert "URL=x://one:two@h/one?q=$HOME" in done.stdout.splitlines()
    assert "FREEHOLD_FILL" not in done.stdout


@pytest.mark.parametrize("value", ["$(touch x) `id` \\n %s", "a'b\"c", "{{secret:a}}", " spaces ", "*", "é"])
def test_a_secret_is_only_ever_a_text(container: Container, value: str) -> None:
    container.secret("odd", value + "\n")
    done = container.run("printenv", "KEY", KEY="{{secret:odd}}", FREEHOLD_FILL_ENV="KEY", LANG="C.UTF-8", PYTHONUTF8="1")
    assert done.stdout == value + "\n"
    assert not (container.root / "x").exists()


def test_what_is_not_named_stays_as_it_is(container: Container) -> None:
    assert container.run("printenv", "OTHER", OTHER="{{secret:a}}").stdout == "{{secret:a}}\n"


def test_files_are_filled_into_the_memory_of_the_container_for_its_user_alone(container: Container) -> None:
    container.secret("valkey", "hush")
    template = container.root / "valkey.conf"
    template.write_text("# a comment with $dollar and \\back\nrequirepass {{secret:valkey}}\n\n  indented\n")
    assert container.run("true", FREEHOLD_FILL_FILES=str(template)).returncode == 0
    filled = container.root / "run" / "valkey.conf"
    assert filled.read_text() == "# a comment with $dollar and \\back\nrequirepass hush\n\n  indented\n"
    assert filled.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [None, ""])
def test_without_its_secret_nothing_is_started(container: Container, text: str | None) -> None:
    if text is not None:
        container.secret("gone", text)
    done = container.run("echo", "started", KEY="{{secret:gone}}", FREEHOLD_FILL_ENV="KEY")
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "gone" in done.stderr


def test_arguments_reach_the_program_as_they_are(container: Container) -> None:
    assert container.run("printf", "%s|", "a b", "*", "").stdout == "a b|*||"


def test_the_program_takes_the_place_of_the_entrypoint(container: Container) -> None:
    assert container.run("/bin/sh", "-c", "exit 7").returncode == 7


def test_variables_of_the_agents_are_set_for_the_program(tmp_path: Path) -> None:
    container = Container(tmp_path, "entrypoint.sh")
    container.secret("agent_env", "export TAVILY_KEY='it'\"'\"'s $5'\nexport LINES='a\nb'\n")
    assert container.run("printenv", "TAVILY_KEY").stdout == "it's $5\n"
    assert container.run("printenv", "LINES").stdout == "a\nb\n"
