"""A Compose folder on the disk: private secrets that stay, files that change only where they say something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, given_secrets, plan
from freehold.targets.compose import write
from freehold.targets.compose.render import AGENT_ENV, Project

MACHINE = Machine("Linux", "x86_64", 8, 16 * GIB)
PROJECT = Project("agent:1", models={"model": "/var/cache/freehold/m.gguf"}, user=write.owner(), settings='[server]\nhost = "0.0.0.0"\n')


def planned(**tree: object) -> tuple[Stack, dict[str, SecretStr]]:
    settings = Settings.model_validate({"stack": {"target": "compose"}, **tree})
    return plan(settings, MACHINE, version="1"), dict(given_secrets(settings))


def test_secrets_are_for_those_alone_as_whom_containers_run(tmp_path: Path) -> None:
    stack, given = planned(redis={"url": "redis://:hush@cache"})
    write.write(tmp_path / "out", stack, PROJECT, given)
    folder = tmp_path / "out" / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = {path.name: path.stat() for path in folder.iterdir()}
    assert {"postgres_app", "postgres_superuser", "api_key", "model_key", "redis_url"} <= found.keys()
    assert {(stat.S_IMODE(entry.st_mode), entry.st_uid, entry.st_gid) for entry in found.values()} == {(0o600, *write.owner())}
    assert (folder / "redis_url").read_text() == "redis://:hush@cache\n"


def test_nobody_runs_as_root() -> None:
    assert 0 not in write.owner()


def test_no_secret_is_in_any_other_file(tmp_path: Path) -> None:
    stack, given = planned(webhooks={"secret": "hush-hush-hush-hush-hush-1"}, telemetry={"otlp_headers": "authorization=hush2"})
    write.write(tmp_path / "out", stack, PROJECT, given)
    values = [path.read_text().strip() for path in (tmp_path / "out" / "secrets").iterdir()]
    assert len(values) > 6
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            text = path.read_text()
            assert not [value for value in values if value in text], path


def test_what_was_made_once_stays_and_what_was_given_follows_the_settings(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = write.write(out, *_with_url("redis://:one@cache"))
    before = {path.name: path.read_text() for path in (out / "secrets").iterdir()}
    assert "api_key" in made
    assert write.write(out, *_with_url("redis://:two@cache")) == []
    after = {path.name: path.read_text() for path in (out / "secrets").iterdir()}
    assert after == before | {"redis_url": "redis://:two@cache\n"}


def _with_url(url: str) -> tuple[Stack, Project, dict[str, SecretStr]]:
    stack, given = planned(redis={"url": url})
    return stack, PROJECT, given


def test_a_file_that_says_the_same_stays_the_same_file_and_stale_ones_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    stack, given = planned()
    write.write(out, stack, PROJECT, given)
    inodes = {path: path.stat().st_ino for path in out.rglob("*") if path.is_file() and "secrets" not in path.parts}
    (out / "files" / "gone").mkdir()
    (out / "files" / "gone" / "x.conf").write_text("old")
    write.write(out, stack, PROJECT, given)
    assert {path: path.stat().st_ino for path in out.rglob("*") if path.is_file() and "secrets" not in path.parts} == inodes
    assert not (out / "files" / "gone").exists()


def test_containers_may_read_files_whatever_the_umask(tmp_path: Path) -> None:
    stack, given = planned()
    before = os.umask(0o077)
    try:
        write.write(tmp_path / "out", stack, PROJECT, given)
    finally:
        os.umask(before)
    file = tmp_path / "out" / "files" / "postgres" / "pg_hba.conf"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    stack, given = planned()
    with pytest.raises(ConfigError, match="no Compose folder of ours"):
        write.write(tmp_path, stack, PROJECT, given)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_variables_of_agents_are_a_secret_too(tmp_path: Path) -> None:
    stack, given = planned()
    project = Project("agent:1", models=PROJECT.models, user=write.owner(), has_variables=True)
    write.write(tmp_path / "out", stack, project, {**given, AGENT_ENV: SecretStr("export KEY='hush'")})
    assert (tmp_path / "out" / "secrets" / AGENT_ENV).read_text() == "export KEY='hush'\n"
    assert "hush" not in (tmp_path / "out" / "compose.yaml").read_text()
