"""What `freehold render dashboards` writes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from freehold.config.settings import Settings
from freehold.operate.dashboards import write_dashboards
from freehold.stack.monitoring.dashboards import DASHBOARDS


def test_pages_and_rules_are_written_and_other_files_are_left(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    settings = Settings.model_validate({"model": {"engine": "none"}})
    for _ in range(2):
        written = write_dashboards(tmp_path, settings)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written} | {"mine.json"}
    assert {json.loads((tmp_path / f"{page.uid}.json").read_text())["title"] for page in DASHBOARDS} == {page.title for page in DASHBOARDS}
    assert yaml.safe_load((tmp_path / "recording.yml").read_text())["groups"]


def test_rules_know_how_many_places_llama_cpp_has(tmp_path: Path) -> None:
    settings = Settings.model_validate({"model": {"engine": "llama.cpp", "name": "qwen2.5-coder-1.5b-instruct", "parallel": 3}})
    write_dashboards(tmp_path, settings)
    assert 'model=\\"qwen2.5-coder-1.5b-instruct\\"}) / 3' in (tmp_path / "recording.yml").read_text()
