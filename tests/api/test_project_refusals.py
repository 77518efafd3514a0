"""What langgraph.json may ask for and does not get: the server does not start, and says which key it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.bootstrap import open_server
from freehold.config.settings import Settings
from freehold.core.errors import NotSupported
from freehold.server.app import create_app


@pytest.mark.compat("langgraph.json", "priority", "runs are taken in the order they fall due", refused=True)
@pytest.mark.compat("langgraph.json", "ui, ui_config; POST /ui/{graph_id}", "components must be built from TypeScript first", refused=True)
@pytest.mark.compat("langgraph.json", "node_version", "only Python graphs are served", refused=True)
@pytest.mark.compat(
    "langgraph.json", "checkpointer.path", "checkpoints are fenced by the run's claim, which other savers cannot be", refused=True
)
@pytest.mark.compat(
    "langgraph.json", "checkpointer.serde.pickle_fallback, allowed_json_modules", "reading a pickle runs code", refused=True
)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priority", {"path": "./priority.py:priority"}),
        ("ui", {"agent": "./ui.tsx"}),
        ("ui_config", {"shared": ["react"]}),
        ("node_version", "20"),
        ("checkpointer", {"path": "./saver.py:make"}),
        ("checkpointer", {"serde": {"pickle_fallback": True}}),
        ("checkpointer", {"serde": {"allowed_json_modules": True}}),
    ],
)
def test_a_server_does_not_start_with_what_it_cannot_do(tmp_path: Path, key: str, value: Any) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, key: value}))
    settings = Settings.model_validate({"agents": {"config": config}})
    with pytest.raises(NotSupported, match=f'"{key}[".]') as refused:
        create_app(settings, lambda: open_server(settings))
    assert refused.value.hint


async def test_generative_ui_is_refused_by_name(http: httpx.AsyncClient) -> None:
    refused = await http.post("/ui/echo", json={"name": "agent"})
    assert (refused.status_code, refused.json()["code"]) == (501, "not_supported")
