"""Spans by name, whether traces are exported or not. Nothing of OpenTelemetry is imported until they are.

Off, which is the default, every function here is one comparison; no connection is ever made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol

from freehold.config.settings import TelemetrySection

if TYPE_CHECKING:
    from freehold.telemetry.conventions import Attributes
    from freehold.telemetry.spans import Tracing

Kind = Literal["internal", "server", "producer", "consumer", "client"]


class Span(Protocol):
    """What callers may do with a span."""

    def set_attributes(self, attributes: Any) -> None: ...

    def update_name(self, name: str) -> None: ...


class _NoSpan:
    """Stands in where nothing is recorded."""

    def set_attributes(self, attributes: Any) -> None:
        pass

    def update_name(self, name: str) -> None:
        pass


_NOTHING: AbstractContextManager[Span] = nullcontext(_NoSpan())

_tracing: Tracing | None = None


def tracing() -> Tracing | None:
    """Where spans go in this process; None where they are not exported."""
    return _tracing


def span(name: str, attributes: Callable[[], Attributes] | None = None, *, kind: Kind = "internal") -> AbstractContextManager[Span]:
    """A span around what is done within, below the one that is open here. Attributes are made only where it is recorded."""
    if _tracing is None:
        return _NOTHING
    return _tracing.span(name, attributes() if attributes else {}, kind=kind)


def server_span(name: str, attributes: Callable[[], Attributes], headers: Mapping[str, str]) -> AbstractContextManager[Span]:
    """The span of a request, below the caller's own where it sent a `traceparent`."""
    if _tracing is None:
        return _NOTHING
    return _tracing.span(name, attributes(), kind="server", parent=_tracing.remote(headers))


def keeps_content() -> bool:
    """Whether spans may hold prompts, answers and arguments."""
    return _tracing is not None and _tracing.content


def tell_outcome(span: Span, outcome: str) -> None:
    """How a tool call ended, on its span: "ok", or what it is an error of."""
    if _tracing is not None:
        _tracing.tell_outcome(span, outcome)


def tell_content(span: Span, make: Callable[[], Attributes]) -> None:
    """Put prompts, answers or arguments on a span, where that is switched on."""
    if keeps_content():
        span.set_attributes(make())


def traceparent() -> str | None:
    """The span that is open here in W3C form, e.g. `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`."""
    return _tracing.traceparent() if _tracing else None


@asynccontextmanager
async def exporting(settings: TelemetrySection, *, role: str, project: str = "freehold") -> AsyncIterator[None]:
    """Export spans meanwhile, where `telemetry.otlp_endpoint` says whither.

    Args:
        role: "server" or "worker".
        project: under which Phoenix shows them.

    Several may be open in one process; they share what the first one opened, which the last one closes.

    Raises:
        NotConfigured: the exporter is not installed.
    """
    global _tracing
    if not settings.otlp_endpoint or _tracing is not None:
        yield
        return
    from freehold.telemetry import export

    headers = settings.otlp_headers.get_secret_value() if settings.otlp_headers else ""
    opened = export.open_tracing(settings.otlp_endpoint, headers, role=role, project=project, content=settings.content)
    _tracing = opened
    try:
        yield
    finally:
        _tracing = None
        await export.close(opened)
