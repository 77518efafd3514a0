"""`freehold render compose`, as people call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from tests.support import compose

IMAGE = ("--image", "registry.example/agents:1.4")


def freehold(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "freehold", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_writes_a_folder_that_compose_reads_and_says_what_to_do(tmp_path: Path) -> None:
    done = freehold(tmp_path, "render", "compose", "--out", "deploy", *IMAGE)
    assert done.returncode == 0, done.stderr
    assert f"cd {tmp_path / 'deploy'} && docker compose up --detach --wait" in done.stdout
    tree = yaml.safe_load(compose.read(tmp_path / "deploy"))
    assert {service["image"] for name, service in tree["services"].items() if name in ("server", "worker", "migrate", "owners")} == {
        IMAGE[1]
    }
    assert "build" not in tree["services"]["server"]


def test_a_second_time_it_makes_no_secrets_and_changes_nothing(tmp_path: Path) -> None:
    first = json.loads(freehold(tmp_path, "render", "compose", "--out", "deploy", "--json", *IMAGE).stdout)
    before = {path: path.read_bytes() for path in (tmp_path / "deploy").rglob("*") if path.is_file()}
    second = json.loads(freehold(tmp_path, "render", "compose", "--out", "deploy", "--json", *IMAGE).stdout)
    assert "api_key" in first["made_secrets"]
    assert second["made_secrets"] == []
    assert {path: path.read_bytes() for path in (tmp_path / "deploy").rglob("*") if path.is_file()} == before


def test_an_overlay_and_the_hubs_token_reach_the_folder(tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_text('[stack]\nname = "one"\n')
    (tmp_path / "freehold.production.toml").write_text("[worker]\ncount = 3\n")
    done = freehold(tmp_path, "render", "compose", "--out", "deploy", "--env", "production", *IMAGE, HF_TOKEN="hf_hush")
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load((tmp_path / "deploy" / "compose.yaml").read_text())
    assert tree["name"] == "one"
    assert tree["services"]["worker"]["deploy"]["replicas"] == 3
    assert tree["services"]["fetch"]["environment"]["HF_TOKEN"] == "{{secret:hf_token}}"
    assert (tmp_path / "deploy" / "secrets" / "hf_token").read_text() == "hf_hush\n"


def test_variables_of_the_agents_are_handed_over_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("graph = None\n")
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"a": "./agent.py:graph"}, "env": {"TAVILY_KEY": "it's hush"}}))
    done = freehold(tmp_path, "render", "compose", "--out", "deploy", *IMAGE)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "deploy" / "compose.yaml").read_text()
    assert "hush" not in text
    services = yaml.safe_load(text)["services"]
    assert [name for name, service in services.items() if "agent_env" in service.get("secrets", ())] == ["server", "worker"]
    shown = subprocess.run(
        ["/bin/sh", "-c", ". deploy/secrets/agent_env; printenv TAVILY_KEY"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "it's hush\n"
    own = {"PATH": "/usr/bin:/bin", "TAVILY_KEY": "the stack's"}
    shown = subprocess.run(
        ["/bin/sh", "-c", ". deploy/secrets/agent_env; printenv TAVILY_KEY"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=own,
    )
    assert shown.stdout == "the stack's\n", "what the stack sets wins, as it does without containers"
    assert (tmp_path / "deploy" / ".gitignore").read_text().splitlines()[1:] == ["secrets/", "agent/"]


def test_up_without_docker_says_what_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    done = freehold(tmp_path, "up", "--target", "compose", "--json", PATH=str(tmp_path), FREEHOLD_HOME=str(tmp_path / "home"))
    assert done.returncode == 6
    assert "Docker is not installed" in json.loads(done.stderr.splitlines()[-1])["error"]["message"]
    assert not (tmp_path / "home" / "compose").exists()
