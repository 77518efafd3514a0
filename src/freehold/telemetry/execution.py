"""What is told about one attempt of a run: its ids on every log line, what it counts for, its spans."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog
from langchain_core.callbacks import BaseCallbackHandler

from freehold.core.run import Run
from freehold.telemetry import conventions, metrics, tracing
from freehold.telemetry.meter import ErrorType, Meter
from freehold.telemetry.origin import REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from freehold.telemetry.spans import GraphSpans, Tracing

#: Key of root values that tell of an interrupt; they come before the step that asked has ended.
_INTERRUPT = "__interrupt__"


class Observation:
    """One attempt. Entered around its execution, in the task it is executed in."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._graph = "unknown"
        self._claimed_at = self._step_began = time.monotonic()
        self._has_input = False
        self._meter: Meter | None = None
        self._span: Span | None = None
        self._spans: GraphSpans | None = None
        self._within = ExitStack()

    def claimed(self, since_ns: int) -> None:
        """A worker took the run.

        Args:
            since_ns: when it began to ask the queue for one (`time.time_ns`).
        """
        if there := tracing.tracing():
            _tell_queue(there, self._run, since_ns)

    def __enter__(self) -> Observation:
        run = self._run
        ids = {"run_id": str(run.run_id), "thread_id": str(run.thread_id), "attempt": run.attempt}
        asked_by = {REQUEST_ID: run.request.origin[REQUEST_ID]} if REQUEST_ID in run.request.origin else {}
        self._within.enter_context(structlog.contextvars.bound_contextvars(**ids, **asked_by))
        if there := tracing.tracing():
            self._begin_span(there)
        return self

    def _begin_span(self, there: Tracing) -> None:
        from freehold.telemetry.spans import run_attributes

        run = self._run
        token = run_attributes.set(conventions.run_ids(run))
        self._within.callback(run_attributes.reset, token)
        attributes = conventions.agent(run)
        if there.content:
            attributes |= conventions.content_value("input", run.request.input)
        parent = there.remote(run.request.origin)
        self._span = self._within.enter_context(there.span("run", attributes, kind="consumer", parent=parent))
        trace_id = format(self._span.get_span_context().trace_id, "032x")
        self._within.enter_context(structlog.contextvars.bound_contextvars(trace_id=trace_id))

    def __exit__(self, *exception: Any) -> None:
        for told in (self._meter, self._spans):
            if told is not None:
                told.close()
        self._within.__exit__(*exception)

    def callbacks(self, graph_id: str, error_type: ErrorType) -> list[BaseCallbackHandler]:
        """What watches the graph. The run's own graph is known from here on."""
        self._graph = graph_id
        self._meter = Meter(error_type)
        self._step_began = time.monotonic()
        there = tracing.tracing()
        if there is None or self._span is None:
            return [self._meter]
        from freehold.telemetry.spans import GraphSpans

        self._span.update_name(f"invoke_agent {graph_id}")
        self._span.set_attributes(conventions.agent(self._run, graph_id))
        self._spans = GraphSpans(there, self._span)
        return [self._meter, self._spans]

    @property
    def tokens(self) -> int:
        """What its models read and wrote, as far as they said so."""
        return self._meter.tokens if self._meter else 0

    def graph_is(self, graph_id: str) -> None:
        """The run's graph, where it is known before it is opened, or without."""
        self._graph = graph_id

    def values(self, values: Any) -> None:
        """Root values were streamed. The first ones are the input's; after that each ends a superstep, but for an interrupt's."""
        if isinstance(values, dict) and _INTERRUPT in values:
            return
        now = time.monotonic()
        if self._has_input:
            metrics.STEP_DURATION.labels(self._graph).observe(now - self._step_began)
        self._has_input = True
        self._step_began = now

    def ended(self, status: str, error: Mapping[str, Any] | None = None, values: Any = None) -> None:
        """The run has ended, stored as `status`; "rolled_back" is one that is gone."""
        metrics.RUNS.labels(self._graph, status).inc()
        metrics.RUN_DURATION.labels(self._graph).observe(time.monotonic() - self._claimed_at)
        if self._span is None:
            return
        self._span.set_attribute("freehold.run.status", status)
        if error:
            _note_error(self._span, error)
        if tracing.keeps_content() and values is not None:
            self._span.set_attributes(conventions.content_value("output", values))


def _note_error(span: Span, error: Mapping[str, Any]) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", str(error.get("error")))
    span.set_status(Status(StatusCode.ERROR, str(error.get("message"))[:2000] if tracing.keeps_content() else None))


def _tell_queue(there: Tracing, run: Run, since_ns: int) -> None:
    """Two spans that are over already: they arrive even where the worker that claimed the run dies with it.

    How long a later attempt waited is not known: its claim overwrote when the one before had ended.
    """
    parent = there.remote(run.request.origin)
    ids = {**conventions.run_ids(run), "freehold.attempt": run.attempt, "freehold.epoch": run.epoch}
    if run.epoch == 1:  # both ends are the database's time
        start, end = (int(moment.timestamp() * 1e9) for moment in (run.available_at or run.created_at, run.updated_at))
        there.start("queue wait", ids, parent=parent, start_ns=min(start, end)).end(end)
    there.start("claim", ids, parent=parent, start_ns=since_ns).end()
