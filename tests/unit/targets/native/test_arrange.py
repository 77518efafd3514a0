"""Where programs and folders lie, for an ordinary user and for root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.config import paths
from freehold.config.settings import Settings
from freehold.core.errors import Incompatible, OutOfSpace
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, plan
from freehold.targets.native import arrange, programs
from freehold.targets.native.home import Home
from freehold.targets.native.process import User

MACHINE = Machine("Linux", "x86_64", 2, 16 * GIB)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.create()
    yield home
    runtime = paths.runtime(home.path)
    if runtime.exists():
        runtime.rmdir()


def planned(**tree: object) -> Stack:
    return plan(Settings.model_validate(tree), MACHINE, version="1")


def test_an_ordinary_user_keeps_everything_in_the_state_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrange, "_is_root", lambda: False)
    layout = arrange.layout(planned(), home, project=home.path, prepared={"llama-server": ("/llama",)})
    assert layout.place("postgres").data == home.path / "postgres"
    assert layout.place("postgres").user is None
    assert layout.administrators == (pwd.getpwuid(os.getuid()).pw_name,)
    assert "site-packages" in layout.programs["postgres"][0]
    assert layout.programs["llama-server"] == ("/llama",)


def test_root_gives_postgres_a_user_a_place_and_readable_programs(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(arrange, "_is_root", lambda: True)
    monkeypatch.setattr(programs, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(programs, "service_user", lambda: User(me.pw_name, me.pw_uid, me.pw_gid))
    layout = arrange.layout(planned(model={"engine": "none"}), home, project=home.path)
    place, program = layout.place("postgres"), Path(layout.programs["postgres"][0])
    assert place.data == tmp_path / "system" / paths.identity(home.path) / "postgres"
    assert place.data.parent.stat().st_mode & 0o777 == 0o700
    assert program.is_relative_to(tmp_path / "system" / "programs")
    assert {path.stat().st_mode & 0o055 for path in (program, *program.parents) if path.is_relative_to(tmp_path / "system")} == {0o055}


def test_own_stores_need_no_programs_of_ours(home: Home) -> None:
    stack = planned(database={"url": "postgresql://db"}, redis={"url": "redis://c"}, model={"base_url": "http://gpu/v1"})
    layout = arrange.layout(stack, home, project=home.path)
    assert set(layout.programs) == {"python", "freehold"}
    assert layout.administrators == ()


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(OutOfSpace) as error:
        arrange.check_space(tmp_path, needed=10**18)
    assert "MB free, and 953674316406 MB are needed" in error.value.message
    assert error.value.hint is not None
    assert "FREEHOLD_HOME" in error.value.hint


def test_a_user_id_without_a_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.targets.native.programs.os.getuid", lambda: 987654)
    with pytest.raises(Incompatible, match="user id 987654 has no entry in /etc/passwd"):
        programs.own_user_name()


def test_a_service_user_that_cannot_be_made_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SERVICE_USER", "no-such-user-here")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Incompatible) as error:
        programs.service_user()
    assert "PostgreSQL does not run as root" in error.value.message
    assert error.value.hint is not None
    assert "DATABASE_URL" in error.value.hint


def test_the_embedded_servers_are_found_without_importing_their_packages() -> None:
    assert (programs.postgres_folder() / "pginstall" / "bin" / "postgres").is_file()
    assert os.access(programs.valkey()[0], os.X_OK)
