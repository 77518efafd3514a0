"""Private means private: a whole stack in a network without a way out, with its real model, answers and tries nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import FREEHOLD, Stack
from tests.support.netns import Offline, offline

pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]


@pytest.fixture
def network() -> Iterator[Offline]:
    with offline() as network:
        yield network


def test_a_stack_without_a_network_answers_and_nothing_tries_to_leave(network: Offline, stack: Stack, tmp_path: Path) -> None:
    # `stack` has put engine and models into the cache, the one time that needs a network.
    inside = replace(stack, folder=tmp_path)
    (tmp_path / "manual.md").write_text("# Greenhouse\n\nThe orchid room is kept at 17.5 degrees at night.\n")

    def freehold(*arguments: str) -> Any:
        done = network.run(FREEHOLD, *arguments, "--json", cwd=inside.folder, env=inside.environ, check=False)
        assert done.returncode == 0, f"freehold {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    try:
        freehold("up", "--detach", "--yes")
        assert "714" in freehold("ask", "What is 42 * 17? Use the calculator.")["answer"]
        freehold("ingest", "manual.md")
        assert "17.5" in json.dumps(freehold("search", "How warm is the orchid room at night?"))
        assert freehold("doctor")
        assert network.attempts() == []
    finally:
        network.run(FREEHOLD, "reset", "--yes", cwd=inside.folder, env=inside.environ, check=False)
