"""How requests are counted by their answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from freehold.server.request_counts import RequestCounts

CLASSES = ("2xx", "3xx", "4xx", "5xx")


def counts() -> dict[str, float]:
    return {kind: REGISTRY.get_sample_value("freehold_http_requests_total", {"status": kind}) or 0.0 for kind in CLASSES}


async def ask(path: str, status: int | None, kind: str = "http") -> dict[str, float]:
    """What one request adds to the counts; `status` None: the application fails before it answers."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if status is None:
            raise ValueError("unforeseen")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*_: Any) -> Message:
        return {}

    before = counts()
    with suppress(ValueError):
        await RequestCounts(application)({"type": kind, "path": path}, nothing, nothing)  # type: ignore[arg-type]
    return {name: count - before[name] for name, count in counts().items() if count != before[name]}


@pytest.mark.parametrize(("status", "counted"), [(200, "2xx"), (304, "3xx"), (404, "4xx"), (503, "5xx"), (None, "5xx")])
async def test_an_answer_counts_by_its_class_and_a_failure_as_one_of_ours(status: int | None, counted: str) -> None:
    assert await ask("/threads", status) == {counted: 1.0}


@pytest.mark.parametrize("path", ["/ok", "/health", "/metrics"])
async def test_probes_do_not_count(path: str) -> None:
    assert await ask(path, 503) == {}


async def test_a_websocket_does_not_count() -> None:
    assert await ask("/threads", 200, "websocket") == {}
