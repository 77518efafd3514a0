"""Environments that change places: in one step, back again, and never one that another tool keeps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from freehold.operate.upgrade import environment


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An environment, and beside it the copy that upgrade "1" made."""
    for folder, text in ((tmp_path / "env", "old"), (tmp_path / "env.next", "new")):
        (folder / "bin").mkdir(parents=True)
        (folder / "what").write_text(text)
    (tmp_path / "env.next" / ".freehold-upgrade").write_text("1")
    return tmp_path / "env"


def what(folder: Path) -> str:
    return (folder / "what").read_text()


def test_the_copy_takes_the_place_and_the_original_stays_beside(place: Path) -> None:
    environment.switch(place, "1")
    assert (what(place), what(environment.previous(place))) == ("new", "old")
    assert environment.old(place, "1") == environment.previous(place)
    assert not environment.beside(place).exists()


def test_a_switch_that_was_done_changes_nothing(place: Path) -> None:
    environment.switch(place, "1")
    environment.switch(place, "1")
    assert what(place) == "new"


def test_a_switch_that_was_cut_off_between_its_steps_is_completed(place: Path) -> None:
    environment.exchange(place, environment.beside(place))
    assert environment.old(place, "1") == environment.beside(place)
    environment.switch(place, "1")
    assert (what(place), what(environment.previous(place))) == ("new", "old")


def test_the_way_back_may_be_gone_twice_and_leaves_no_copy(place: Path) -> None:
    environment.switch(place, "1")
    environment.switch_back(place, "1")
    environment.switch_back(place, "1")
    assert what(place) == "old"
    assert environment.old(place, "1") == place
    environment.forget(place, but="1")
    assert [path.name for path in place.parent.iterdir()] == ["env"]


def test_the_original_of_an_earlier_upgrade_is_not_taken_for_a_copy(place: Path) -> None:
    environment.previous(place).mkdir()
    environment.forget(place, but="1")
    assert environment.previous(place).exists()


def test_programs_of_a_copy_name_the_place_it_will_have_and_the_original_keeps_its_own(place: Path) -> None:
    new = environment.beside(place)
    (new / "bin" / "tool").write_text(f"#!{new}/bin/python\nprint('{new}')\n")
    (new / "bin" / "tool").chmod(0o755)
    (place / "bin" / "tool").hardlink_to(new / "bin" / "tool")
    environment._move_scripts(new, place)
    assert (new / "bin" / "tool").read_text().startswith(f"#!{place}/bin/python\n")
    assert (new / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert (place / "bin" / "tool").read_text().startswith(f"#!{new}/bin/python\n")


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("uv-receipt.toml", "uv tool install freehold==0.2.0"),
        ("pipx_metadata.json", "pipx install --force freehold==0.2.0"),
        ("conda-meta", f"{sys.executable} -m pip install freehold==0.2.0"),
    ],
)
def test_an_environment_that_a_tool_keeps_is_changed_by_that_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, command: str
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(environment, "_is_editable", lambda: False)
    (tmp_path / file).touch()
    assert environment.advice("0.2.0") == command


@pytest.mark.parametrize(("text", "numbers"), [("0.2.0", (0, 2, 0)), ("1.10.0rc1", (1, 10, 0)), ("2.0.dev3", (2, 0)), ("unknown", ())])
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert environment.release(text) == numbers
