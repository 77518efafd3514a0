"""What doctor says of upgrades."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.support.programs import process, stack

from freehold.core.errors import Conflict
from freehold.operate.upgrade import journal
from freehold.operate.upgrade.journal import Journal
from freehold.operate.upgrade.standing import standing
from freehold.targets.native.home import Home

BEGUN = Journal(
    id="1", old="0.1.0", new="0.2.0", step="start", project="/p", config=None, was_running=True, backup="/b", environment="/env"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def started(home: Home, number: str) -> None:
    home.stack_file.write_text(dataclasses.replace(stack(process("a", ("a",))), version=number).to_json())


def test_where_no_stack_ever_was_nothing_is_said(home: Home) -> None:
    assert list(standing(home)) == []


def test_a_stack_of_this_version_needs_no_word(home: Home) -> None:
    started(home, version("freehold"))
    assert list(standing(home)) == []


def test_another_version_that_is_installed_is_an_upgrade_that_is_due(home: Home) -> None:
    started(home, "0.0.1")
    (said,) = standing(home)
    assert (said.level, said.todo) == ("warn", "freehold upgrade")
    assert "0.0.1 started this stack last" in said.message


def test_an_interrupted_upgrade_fails_and_one_under_way_does_not(home: Home) -> None:
    started(home, "0.1.0")
    journal.write(home, BEGUN)
    assert [said.level for said in standing(home)] == ["fail"]
    with pytest.raises(Conflict, match="was interrupted"):
        journal.require_finished(home)
    with journal.lock(home) as own:
        assert own.take()
        assert [said.level for said in standing(home)] == ["ok"]


def test_many_backups_are_mentioned_with_their_size(home: Home) -> None:
    started(home, version("freehold"))
    home.backups.mkdir()
    for number in range(4):
        (home.backups / f"before-{number}.backup").write_bytes(b"x" * 500_000)
    (said,) = standing(home)
    assert "4 backups of earlier upgrades take 2 MB" in said.message


def test_what_is_over_is_a_line_of_the_history_and_no_journal(home: Home) -> None:
    journal.write(home, BEGUN)
    assert journal.read(home) == BEGUN
    journal.close(home, BEGUN, "done")
    assert journal.read(home) is None
    assert '"outcome": "done"' in journal.history(home).read_text()
