"""Names of backups sort as their times do, and only they are ever removed."""

from __future__ import annotations

from pathlib import Path

from freehold.operate.backup.kept import forget, held, named


def test_a_folder_gets_a_name_of_its_time_and_a_file_stays_as_named(tmp_path: Path) -> None:
    inside = named(tmp_path)
    inside.write_text("")
    assert held(tmp_path) == [inside]
    assert named(tmp_path / "mine.backup") == tmp_path / "mine.backup"


def test_the_oldest_go_and_what_is_no_backup_of_ours_stays(tmp_path: Path) -> None:
    names = [f"freehold-2026010{day}-030000.backup" for day in range(1, 6)]
    for name in (*names, "mine.backup", "freehold-notes.backup"):
        (tmp_path / name).write_text("")
    assert forget(tmp_path, 2) == names[:3]
    assert {path.name for path in tmp_path.iterdir()} == {*names[3:], "mine.backup", "freehold-notes.backup"}
