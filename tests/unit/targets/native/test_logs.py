"""Log files are bounded, shared with the children, and read from their end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.targets.native import logs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)


def test_a_large_file_is_rotated_and_its_writer_goes_on_at_the_start(tmp_path: Path, small: None) -> None:
    path = tmp_path / "a.log"
    handle = logs.open_for_append(path)
    os.write(handle, b"first lines\n")
    assert logs.rotate_if_large(path)
    os.write(handle, b"more\n")
    os.close(handle)
    assert path.read_bytes() == b"more\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"first lines\n"


def test_old_files_move_on_and_the_oldest_goes(tmp_path: Path, small: None) -> None:
    path = tmp_path / "a.log"
    for number in range(4):
        path.write_text(f"contents {number}\n")
        logs.rotate_if_large(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert (tmp_path / "a.log.2").read_text() == "contents 2\n"


def test_a_small_or_missing_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x")
    assert not logs.rotate_if_large(tmp_path / "a.log")
    assert not logs.rotate_if_large(tmp_path / "none.log")


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_tail_has_the_last_lines(tmp_path: Path, lines: int, expected: list[str]) -> None:
    (tmp_path / "a.log").write_text("a\nb\nc\n")
    assert logs.tail(tmp_path / "a.log", lines) == expected
    assert logs.tail(tmp_path / "none.log", lines) == []


def test_the_last_line_is_one_that_says_something_and_is_new(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("an old complaint\n")
    assert logs.last_line(path, since=path.stat().st_size) is None
    with path.open("a") as file:
        file.write("a new one\n\n  \n")
    assert logs.last_line(path, since=17) == "a new one"
    assert logs.last_line(path, since=10_000) == "a new one"
    assert logs.last_line(tmp_path / "none.log") is None
