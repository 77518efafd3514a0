"""The state folder: made private, never taken from somebody else, and what it knows about the last start."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.support.programs import process, stack

from freehold.core.errors import ConfigError, NotConfigured, Unhealthy
from freehold.targets.native import supervisor
from freehold.targets.native.connections import connections
from freehold.targets.native.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_all_folders_are_private(home: Home) -> None:
    assert {path.stat().st_mode & 0o777 for path in (home.path, *home.path.iterdir()) if path.is_dir()} == {0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o750)
    Home(tmp_path / "home").create()
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o750


def test_a_folder_with_things_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home" / "logs").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is not the state folder of a stack") as error:
        Home(tmp_path / "home").create()
    assert str(tmp_path / "home" / ".freehold") in str(error.value.hint)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["logs"]


def test_a_state_folder_is_known_again(home: Home) -> None:
    (home.path / "notes.txt").touch()
    home.create()
    assert home.is_ours


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ConfigError, match="home is not a folder"):
        Home(tmp_path / "home").create()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    mine = os.getuid()
    monkeypatch.setattr("freehold.targets.native.home.os.getuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match=f"belongs to user id {mine}, and you are {mine + 1}"):
        Home(tmp_path / "home").create()


def test_what_another_user_wrote_starts_and_ends_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: home.path.stat().st_uid + 1)
    for ask in (home.rendered, home.require_ours, lambda: home.signal_supervisor(signal.SIGTERM)):
        with pytest.raises(ConfigError, match="belongs to user id"):
            ask()


def test_a_folder_where_nothing_was_started_says_so(home: Home) -> None:
    with pytest.raises(NotConfigured) as error:
        home.rendered()
    assert error.value.hint == "start one with `freehold up`"


def test_a_stack_file_of_another_version_says_so(home: Home) -> None:
    home.stack_file.write_text('{"services": []}')
    with pytest.raises(NotConfigured, match="was written by another version"):
        home.rendered()


def started(home: Home, **env: str) -> None:
    server = {"DATABASE_URL": "postgresql://freehold_app:${secret:app}@/freehold", "REDIS_URL": "unix:///v.sock", **env}
    home.stack_file.write_text(stack(process("server", ("x",), env=server), process("migrate", ("x",), env={})).to_json())
    (home.secrets / "app").write_text("word\n")


def test_connections_of_a_stopped_stack_say_how_to_start_it(home: Home) -> None:
    started(home)
    with pytest.raises(Unhealthy) as error:
        connections(home.path)
    assert error.value.hint == "start it with `freehold up`"


def test_connections_have_their_secrets_filled_in_and_do_not_show_them(home: Home) -> None:
    started(home, OPENAI_BASE_URL="http://127.0.0.1:8000/v1", FREEHOLD_MODEL="qwen")
    handle = supervisor.lock(home)
    try:
        found = connections(home.path)
    finally:
        os.close(handle)
    assert found.database_url == "postgresql://freehold_app:word@/freehold"
    assert found.migration_url == found.database_url
    assert (found.reader_url, found.model_base_url, found.model_name) == (None, "http://127.0.0.1:8000/v1", "qwen")
    assert "word" not in repr(found)
