"""`freehold init` and `freehold check` on what it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FREEHOLD = str(Path(sys.executable).parent / "freehold")


def freehold(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FREEHOLD, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_a_new_project_passes_its_own_check(tmp_path: Path) -> None:
    made = freehold(tmp_path, "init", "my-agent", "--json")
    assert json.loads(made.stdout)["next"] == ["cd my-agent", "freehold dev"]
    checked = freehold(tmp_path / "my-agent", "check", "--json")
    assert checked.returncode == 0, checked.stderr
    report = json.loads(checked.stdout)
    assert (report["graphs"], report["failures"]) == (["my-agent"], {})


def test_an_existing_project_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("mine")
    refused = freehold(tmp_path.parent, "init", str(tmp_path))
    assert refused.returncode != 0
    assert "already has agent.py" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["agent.py"]
    assert (tmp_path / "agent.py").read_text() == "mine"


def test_a_name_no_agent_can_have_is_refused_with_what_would_do(tmp_path: Path) -> None:
    refused = freehold(tmp_path, "init", "1 agent!")
    assert refused.returncode == 2
    assert "letters, digits" in refused.stderr


def test_check_names_the_line_of_a_broken_graph_and_fails(tmp_path: Path) -> None:
    freehold(tmp_path, "init", "broken")
    (tmp_path / "broken" / "agent.py").write_text("\n\nraise ValueError('no such thing')\n")
    checked = freehold(tmp_path / "broken", "check")
    assert checked.returncode == 1
    assert "agent.py:3" in checked.stdout
    assert "no such thing" in checked.stdout


def test_check_loads_what_a_server_would_not_start_without(tmp_path: Path) -> None:
    freehold(tmp_path, "init", "served")
    file = tmp_path / "served" / "langgraph.json"
    content = json.loads(file.read_text())
    store = {"store": {"index": {"dims": 3, "embed": "./app.py:nothing"}}}
    file.write_text(
        json.dumps({**content, "http": {"app": "./app.py:app"}, "auth": {"path": "./auth.py:auth"}, "chekpointer": {}, **store})
    )
    (tmp_path / "served" / "app.py").write_text("app = 1\n")
    (tmp_path / "served" / "auth.py").write_text("raise ValueError('not today')\n")
    checked = freehold(tmp_path / "served", "check", "--json")
    assert checked.returncode == 1
    report = json.loads(checked.stdout)
    assert sorted(report["failures"]) == ["auth.path", "http.app", "store.index"]
    assert "expected a starlette.Starlette, got int" in report["failures"]["http.app"]["message"]
    assert "auth.py:1: ValueError: not today" in report["failures"]["auth.path"]["message"]
    assert 'the module has no "nothing"' in report["failures"]["store.index"]["message"]
    assert report["findings"] == ['langgraph.json: unknown key "chekpointer" has no effect']
