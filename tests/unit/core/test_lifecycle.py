"""How a run's end is told in the event streaming protocol."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.core.lifecycle import root_end


@pytest.mark.parametrize(
    ("status", "error", "waiting", "told"),
    [
        ("success", None, False, {"event": "completed", "graph_name": "agent"}),
        ("success", None, True, {"event": "interrupted", "graph_name": "agent"}),
        ("interrupted", None, False, {"event": "interrupted", "graph_name": "agent"}),
        ("error", {"error": "ValueError", "message": "no"}, False, {"event": "failed", "graph_name": "agent", "error": "no"}),
        ("timeout", None, False, {"event": "failed", "graph_name": "agent", "error": "timeout"}),
    ],
)
def test_the_end_of_a_run_is_named(status: str, error: dict[str, Any] | None, waiting: bool, told: dict[str, Any]) -> None:
    assert root_end("agent", status, error, waiting=waiting) == told
