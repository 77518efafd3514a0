"""Private folders and files: made with the right mode, replaced in one step, and never changed where they are not ours."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from freehold.core.errors import ConfigError, NotConfigured
from freehold.stack.service import Secret
from freehold.targets.native import files, secrets

WANTED = (Secret("made", "generated", ""), Secret("told", "given", ""))


def test_a_new_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.make_folder(tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_the_mode_of_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    (tmp_path / "there").chmod(0o755)
    files.make_folder(tmp_path / "there")
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there"
    path.touch() if kind == "file" else path.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder of user id"):
        files.make_folder(path)


def test_a_written_file_is_private_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old, longer")
    path.chmod(0o644)
    files.write_private(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_two_writers_of_one_file_both_succeed_and_leave_a_whole_one(tmp_path: Path) -> None:
    texts = [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: files.write_private(tmp_path / "f", text), texts))
    assert (tmp_path / "f").read_text() in texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    files.write_private(tmp_path / "f", "new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "f").read_text() == "new"


def test_secrets_are_made_once_and_given_ones_follow_the_settings(tmp_path: Path) -> None:
    assert secrets.ensure(tmp_path, WANTED, {"told": SecretStr("one")}) == ["made"]
    first = secrets.read(tmp_path, "made")
    assert secrets.ensure(tmp_path, WANTED, {"told": SecretStr("two")}) == []
    assert (secrets.read(tmp_path, "made"), secrets.read(tmp_path, "told")) == (first, "two")
    assert len(first) >= 40
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_references_are_filled_and_other_text_is_kept(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("x$1\\g<0>\n")
    env = {"A": "p://u:${secret:word}@h", "B": "$PATH ${other}"}
    assert secrets.resolve(tmp_path, env) == {"A": "p://u:x$1\\g<0>@h", "B": "$PATH ${other}"}


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_secret_that_is_missing_or_empty_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "word").write_text(content)
    with pytest.raises(NotConfigured, match="word is missing"):
        secrets.read(tmp_path, "word")
