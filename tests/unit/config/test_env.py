from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import freehold
from freehold.config import env

SOURCE = Path(freehold.__file__).parent


def test_a_value_is_read_and_empty_counts_as_unset() -> None:
    environ = {"DATABASE_URL": "postgresql://x", "REDIS_URL": ""}
    assert env.get("DATABASE_URL", environ) == "postgresql://x"
    assert env.get("REDIS_URL", environ) is None
    assert env.get("HF_TOKEN", environ) is None


def test_an_undeclared_variable_cannot_be_read() -> None:
    with pytest.raises(KeyError, match="not declared"):
        env.get("HOME")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", "/somewhere")
    assert env.get("FREEHOLD_HOME") == "/somewhere"


def test_secrets_are_known() -> None:
    assert env.is_secret("OPENAI_API_KEY") and not env.is_secret("FREEHOLD_HOME") and not env.is_secret("UNKNOWN")
    assert all(
        env.is_secret(v.name)
        for v in env.VARIABLES
        if v.name.endswith(("_URL", "_KEY", "TOKEN")) and "BASE" not in v.name and "SERVER" not in v.name
    )


def test_a_child_gets_ours_with_more_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", "/a")
    child = env.inherited({"FREEHOLD_HOME": "/b"})
    assert child["FREEHOLD_HOME"] == "/b" and "PATH" in child


def test_variables_are_unique_and_described_in_a_sentence() -> None:
    names = [variable.name for variable in env.VARIABLES]
    assert len(set(names)) == len(names)
    assert [variable.name for variable in env.VARIABLES if not variable.about.endswith(".")] == []


def reads_environment(tree: ast.AST) -> list[int]:
    """Lines that name os.environ, os.getenv and the like, under whatever name they were imported."""
    words = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    attributes = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in words and _is_os(node.value)]
    imports = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "posix"} and any(alias.name in words for alias in node.names)
    ]
    return attributes + imports


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.lstrip("_") in {"os", "posix"}


def test_only_env_reads_the_environment() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE) != Path("config/env.py")
        for line in reads_environment(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ", "from os import getenv as g"]
)
def test_the_check_sees_every_way_of_reading(text: str) -> None:
    assert reads_environment(ast.parse(text))


def test_every_declared_variable_is_read_somewhere() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.name != "env.py")
    read_by_libraries = {"HF_ENDPOINT", "HF_HUB_OFFLINE", "NO_COLOR", "CI"}
    unread = [v.name for v in env.VARIABLES if f'"{v.name}"' not in text and v.name not in read_by_libraries]
    assert [name for name in unread if not env.of_models({name.replace("<NAME>", "CODER"): "x"})] == []


def test_process_defaults_leave_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    env.set_process_defaults()
    assert (os.environ["LANGSMITH_TRACING"], os.environ["ORT_DISABLE_TELEMETRY"]) == ("true", "1")


def test_with_the_process_defaults_onnx_runtime_keeps_no_telemetry(tmp_path: Path) -> None:
    # Without them it makes an identity and a queue of events in the user's cache folder, then sends it.
    code = "from freehold.config import env; env.set_process_defaults(); import onnxruntime; onnxruntime.SessionOptions()"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_programs_of_others_get_no_keys_whatever_their_names_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "hush")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    assert "VLLM_API_KEY" not in env.minimal()
    assert env.minimal()["VLLM_LOGGING_LEVEL"] == "INFO"
