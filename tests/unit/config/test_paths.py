from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from freehold.config import paths
from freehold.core.errors import ConfigError


def test_state_lives_in_the_working_directory_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.home() == tmp_path / ".freehold"
    monkeypatch.setenv("FREEHOLD_HOME", "state")
    assert paths.home() == tmp_path / "state"
    monkeypatch.setenv("FREEHOLD_HOME", "~/state")
    assert paths.home() == Path.home() / "state"


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FREEHOLD_CACHE", raising=False)
    assert paths.cache().is_relative_to(Path.home()) and paths.cache().name == "freehold"
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path))
    assert paths.cache() == tmp_path


def test_two_stacks_have_two_identities(tmp_path: Path) -> None:
    assert paths.identity(tmp_path / "a") != paths.identity(tmp_path / "b")
    assert paths.identity(tmp_path / "a") == paths.identity(tmp_path / "b" / ".." / "a")


def test_a_socket_fits_however_deep_the_stack_lies(tmp_path: Path) -> None:
    assert len(str(paths.runtime(tmp_path / ("deep" * 40)) / "postgres" / ".s.PGSQL.5432")) < 107


def test_the_folder_of_sockets_is_the_same_from_every_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths.runtime(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what Python remembers of TMPDIR
    assert paths.runtime(tmp_path) == before


def test_a_private_folder_is_made_and_found_again(tmp_path: Path) -> None:
    folder = paths.make_private(tmp_path / "run")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert paths.make_private(folder) == folder


def test_a_folder_others_may_enter_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="not a private folder"):
        paths.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    os.symlink(tmp_path / "real", tmp_path / "run")
    with pytest.raises(ConfigError, match="not a private folder"):
        paths.make_private(tmp_path / "run")
