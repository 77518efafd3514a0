"""How a run ended, in the words of the event streaming protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def root_end(graph_name: str | None, status: str, error: Mapping[str, Any] | None, *, waiting: bool) -> dict[str, Any]:
    """Data of the event that ends a run: `{"event": "failed", "graph_name": "agent", "error": "…"}`.

    Args:
        status: of the run.
        waiting: whether its thread waits for somebody.
    """
    name = {"graph_name": graph_name} if graph_name else {}
    if error or status in {"error", "timeout"}:
        return {"event": "failed", **name, "error": str((error or {}).get("message") or status)}
    return {"event": "interrupted" if waiting or status == "interrupted" else "completed", **name}
