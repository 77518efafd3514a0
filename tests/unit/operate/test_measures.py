"""What commands leave for Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.operate import measures


def test_figures_stand_in_a_file_as_prometheus_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_MEASURES", str(tmp_path))
    measures.leave("backup", {"freehold_backup_timestamp_seconds": 1.0})
    measures.leave("backup", {"freehold_backup_timestamp_seconds": 1763766000.4})
    assert [file.name for file in tmp_path.iterdir()] == ["backup.prom"]
    assert (tmp_path / "backup.prom").read_text() == (
        "# TYPE freehold_backup_timestamp_seconds gauge\nfreehold_backup_timestamp_seconds 1763766000\n"
    )


def test_where_nobody_measures_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(tmp_path))
    measures.leave("backup", {"freehold_backup_timestamp_seconds": 1.0})
    assert list(tmp_path.iterdir()) == []
