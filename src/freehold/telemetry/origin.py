"""What ties a run to the request that asked for it: stored with the run, read by every worker that executes it."""

from __future__ import annotations

import structlog

from freehold.telemetry import tracing

REQUEST_ID = "request_id"
TRACEPARENT = "traceparent"


def origin() -> dict[str, str]:
    """The request that is being answered here, e.g. `{"request_id": "…", "traceparent": "00-…-01"}`; each where there is one."""
    request_id = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    traceparent = tracing.traceparent()
    return {
        **({REQUEST_ID: str(request_id)} if request_id else {}),
        **({TRACEPARENT: traceparent} if traceparent else {}),
    }
