"""One call of a tool, counted exactly once: by the wrapper our own tools have, else by the callbacks of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from freehold.telemetry import conventions, metrics, tracing
from freehold.telemetry.conventions import Attributes
from freehold.telemetry.tracing import Span

Outcome = Literal["ok", "error", "timeout", "invalid", "cancelled"]

#: Name of the wrapped tool being executed here; its callbacks leave the counting to the wrapper.
_counted: ContextVar[str | None] = ContextVar("freehold_counted_tool", default=None)


class ToolCall:
    """The stopwatch of a call, which is under way until `leave`."""

    def __init__(self, tool: str, span: Span | None = None) -> None:
        self._tool = metrics.bounded("tool", tool)
        self._span = span
        self._started = time.perf_counter()
        self._left = False
        metrics.ACTIVE_TOOL_CALLS.labels(self._tool).inc()

    def leave(self) -> None:
        """It is not under way any more, ended or interrupted; called again it does nothing."""
        if not self._left:
            self._left = True
            metrics.ACTIVE_TOOL_CALLS.labels(self._tool).dec()

    def end(self, outcome: Outcome) -> float:
        """Count it; the seconds it took."""
        self.leave()
        seconds = time.perf_counter() - self._started
        metrics.TOOL_CALLS.labels(self._tool, outcome).inc()
        metrics.TOOL_DURATION.labels(self._tool).observe(seconds)
        if self._span is not None:
            tracing.tell_outcome(self._span, outcome)
        return seconds

    def tell(self, make: Callable[[], Attributes]) -> None:
        """Arguments or result for its span, where content is switched on."""
        if self._span is not None:
            tracing.tell_content(self._span, make)


@contextmanager
def counted(tool: str, call_id: str) -> Iterator[ToolCall]:
    """A call that its wrapper counts, with its span: within, `is_counted` holds for this tool. Count it with `end`."""
    with tracing.span(f"execute_tool {tool}", lambda: conventions.tool(tool, call_id)) as span:
        token = _counted.set(tool)
        call = ToolCall(tool, span)
        try:
            yield call
        finally:
            call.leave()
            _counted.reset(token)


def is_counted(tool: str) -> bool:
    """Whether the wrapper of this tool, somewhere above, counts this call."""
    return _counted.get() == tool
