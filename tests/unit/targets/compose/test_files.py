"""What Docker Compose itself makes of the stacks of examples/stacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.support import compose
from tests.unit.targets.test_stacks import CASES, containers, files

from freehold.targets.compose.render import secrets


@pytest.mark.parametrize("case", CASES)
def test_compose_reads_an_example_without_a_word(case: str, tmp_path: Path) -> None:
    for name, text in files(case).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "secrets").mkdir()
    for name in secrets(*containers(case)):
        (tmp_path / "secrets" / name).write_text("hush-hush-hush")
    (tmp_path / "agent").mkdir()
    understood = compose.read(tmp_path)
    tree = yaml.safe_load(understood)
    assert tree["name"] == case
    assert tree["services"].keys() == yaml.safe_load(files(case)["compose.yaml"])["services"].keys()
    assert "hush-hush-hush" not in understood
