"""Making spans: by hand around a block of code, and from LangChain's callbacks for whatever a graph does.

Imported only where traces are exported. Exceptions leave their type on a span; their text is content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphBubbleUp
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from freehold.telemetry import conventions
from freehold.telemetry.conventions import Attributes
from freehold.telemetry.meter import model_name, tool_name, usage
from freehold.telemetry.model_calls import is_cancellation
from freehold.telemetry.tool_calls import is_counted

if TYPE_CHECKING:
    from freehold.telemetry import tracing
    from freehold.telemetry.tracing import Kind

_W3C = TraceContextTextMapPropagator()
_KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}

#: What every span of the run that is executed here carries.
run_attributes: ContextVar[Attributes] = ContextVar("freehold_run_attributes", default={})  # noqa: B039 - never changed in place

#: Characters of an exception's text, where content is kept.
_ERROR_CHARACTERS = 2000


class Tracing:
    """Where the spans of this process go, and whether they may hold content."""

    def __init__(self, tracer: Tracer, *, content: bool, close: Callable[[], None]) -> None:
        self.tracer = tracer
        self.content = content
        #: Sends what is left; blocking, for some seconds at most.
        self.close = close

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, kind: Kind = "internal", parent: Context | None = None) -> Iterator[Span]:
        """A span that is current within; `parent` None is the one that is open here."""
        span = self.start(name, attributes, kind=kind, parent=here() if parent is None else parent)
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                self.failed(span, error)
                raise
            finally:
                span.end()

    def start(self, name: str, attributes: Attributes, *, kind: Kind = "internal", parent: Context, start_ns: int | None = None) -> Span:
        """A span that the caller ends."""
        attributes = {**conventions.ANY, **run_attributes.get(), **attributes}
        return self.tracer.start_span(name, parent, _KINDS[kind], attributes, start_time=start_ns)

    def failed(self, span: Span, error: BaseException) -> None:
        """Note on a span what went wrong; an interrupt or a cancellation is not an error."""
        if isinstance(error, GraphBubbleUp):
            span.set_attribute("freehold.paused", True)
        elif is_cancellation(error):
            span.set_attribute("freehold.cancelled", True)
        else:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, str(error)[:_ERROR_CHARACTERS] if self.content else None))

    def tell_outcome(self, span: tracing.Span, outcome: str) -> None:
        """How a tool call ended: its wrapper answers a failure as text, so no exception says it."""
        span.set_attributes({"freehold.tool.outcome": outcome, **({} if outcome in {"ok", "cancelled"} else {"error.type": outcome})})
        if outcome not in {"ok", "cancelled"} and isinstance(span, Span):
            span.set_status(Status(StatusCode.ERROR))

    def traceparent(self) -> str | None:
        """The open span in W3C form."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, here())
        return carrier.get("traceparent")

    def remote(self, carrier: Mapping[str, str]) -> Context:
        """The context a `traceparent` names; one without a span where there is none, or it makes no sense."""
        return _W3C.extract(carrier, Context())


def here() -> Context:
    """Below which span something belongs that is done here: within a graph its callbacks know, elsewhere OpenTelemetry."""
    config = var_child_runnable_config.get()
    manager = config.get("callbacks") if config else None
    if isinstance(manager, BaseCallbackManager) and manager.parent_run_id:
        for handler in manager.handlers:
            if isinstance(handler, GraphSpans) and (span := handler.span_of(manager.parent_run_id)):
                return trace.set_span_in_context(span)
    return trace.set_span_in_context(trace.get_current_span())


class GraphSpans(BaseCallbackHandler):
    """Spans for the nodes, model calls, tool calls and retrievals of one run, below the span of the run.

    `close` ends what LangChain never told the end of, as with a cancelled task.
    """

    run_inline = True  # in the caller's own context, and without a thread for each event

    def __init__(self, tracing: Tracing, root: Span) -> None:
        self._tracing = tracing
        self._root = root
        #: Span of each callback id; what is not worth a span of its own has its parent's.
        self._spans: dict[UUID, Span] = {}
        #: Spans this handler began and must end, with when that was.
        self._own: dict[UUID, tuple[Span, float]] = {}
        self._has_token: set[UUID] = set()

    def span_of(self, callback_id: UUID) -> Span | None:
        """The span to which what has this callback id as its parent belongs."""
        return self._spans.get(callback_id)

    def close(self) -> None:
        """The run is over, and with it whatever it had under way; the last to begin ends first."""
        while self._own:
            span, _ = self._own.popitem()[1]
            span.set_attribute("freehold.cancelled", True)
            span.end()
        self._spans.clear()

    # -- nodes ---------------------------------------------------------------------------------------------------

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        if any(tag.startswith("graph:step:") for tag in tags or ()):
            name = str((metadata or {}).get("langgraph_node"))
            self._begin(run_id, parent_run_id, f"node {name}", conventions.node(name, (metadata or {}).get("langgraph_step")))
        else:
            self._spans[run_id] = self._parent(parent_run_id)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id, error)

    # -- models --------------------------------------------------------------------------------------------------

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **more: Any) -> None:
        self._begin_model(serialized, messages[0] if messages else [], run_id, **more)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **more: Any) -> None:
        self._begin_model(serialized, [HumanMessage(prompt) for prompt in prompts], run_id, **more)

    def _begin_model(
        self, serialized: dict[str, Any], messages: list[BaseMessage], run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        model = model_name(serialized, **more)
        asked = more.get("invocation_params") or {}
        attributes = conventions.chat(model, provider=(more.get("metadata") or {}).get("ls_provider"), asked=asked)
        if self._tracing.content:
            attributes |= conventions.content_messages("input", messages)
        self._begin(run_id, parent_run_id, f"chat {model}", attributes, kind="client")

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **more: Any) -> None:
        if run_id in self._own and run_id not in self._has_token:
            self._has_token.add(run_id)
            span, began = self._own[run_id]
            span.set_attributes({"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": time.monotonic() - began})

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        messages = [item.message for items in response.generations for item in items if isinstance(item, ChatGeneration)]
        attributes = conventions.chat_answer(messages[0] if messages else None, *usage(response))
        if self._tracing.content:
            attributes |= conventions.content_messages("output", messages)
        self._end(run_id, attributes=attributes)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id, error)

    # -- tools and retrievers ------------------------------------------------------------------------------------

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        name = tool_name(serialized, **more)
        if is_counted(name):  # its wrapper made the span, which is the current one
            self._spans[run_id] = trace.get_current_span()
            return
        attributes = conventions.tool(name, more.get("tool_call_id"))
        if self._tracing.content:
            attributes |= conventions.content_arguments(inputs if inputs is not None else input_str)
        self._begin(run_id, parent_run_id, f"execute_tool {name}", attributes)

    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id, attributes=conventions.content_result(output) if self._tracing.content else {})

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id, error)

    def on_retriever_start(
        self, serialized: dict[str, Any] | None, query: str, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        source = str(more.get("name") or (serialized or {}).get("name") or "unknown")
        attributes = conventions.retrieval(source)
        if self._tracing.content:
            attributes |= conventions.content_query(query)
        self._begin(run_id, parent_run_id, f"retrieval {source}", attributes)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **more: Any) -> None:
        passages = [item for item in documents if isinstance(item, Document)]
        attributes = conventions.found((str(item.id), None) for item in passages)
        if self._tracing.content:
            attributes |= conventions.content_passages(item.page_content for item in passages)
        self._end(run_id, attributes=attributes)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self._end(run_id, error)

    # ------------------------------------------------------------------------------------------------------------

    def _parent(self, parent_run_id: UUID | None) -> Span:
        known = self._spans.get(parent_run_id) if parent_run_id else None
        return known or self._root

    def _begin(self, run_id: UUID, parent_run_id: UUID | None, name: str, attributes: Attributes, *, kind: Kind = "internal") -> None:
        parent = trace.set_span_in_context(self._parent(parent_run_id))
        span = self._tracing.start(name, attributes, kind=kind, parent=parent)
        self._spans[run_id] = span
        self._own[run_id] = span, time.monotonic()

    def _end(self, run_id: UUID, error: BaseException | None = None, *, attributes: Attributes | None = None) -> None:
        self._spans.pop(run_id, None)
        self._has_token.discard(run_id)
        span, _ = self._own.pop(run_id, (None, 0.0))
        if span is None:
            return
        if attributes:
            span.set_attributes(attributes)
        if error is not None:
            self._tracing.failed(span, error)
        span.end()
