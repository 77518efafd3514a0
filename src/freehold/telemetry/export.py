"""Sends spans to an OTLP/HTTP endpoint (Phoenix, Langfuse, Jaeger, any collector), from a thread of its own.

An endpoint that is away costs spans and one log line in a while, never a run.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from freehold import __version__
from freehold.config.section import LOOPBACK_HOSTS
from freehold.core.errors import NotConfigured
from freehold.core.ids import new_id

try:
    import requests
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
except ImportError as error:  # a trimmed installation; ours brings them
    raise NotConfigured(
        f"telemetry.otlp_endpoint is set, but {error.name} is not installed",
        hint="pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http, or unset it",
    ) from error

from freehold.telemetry.spans import Tracing

log = logging.getLogger(__name__)

#: Where the protocol wants traces below a base URL.
_PATH = "/v1/traces"

_BATCH_MILLISECONDS = 1000
_EXPORT_SECONDS = 5
#: How long a process that ends waits for its last spans.
_CLOSE_SECONDS = 3
#: How often an endpoint that is away is worth a line.
_COMPLAIN_SECONDS = 300


def open_tracing(endpoint: str, headers: str, *, role: str, project: str, content: bool) -> Tracing:
    """Start the exporter.

    Args:
        endpoint: base URL, e.g. `http://127.0.0.1:6006`, or the whole URL ending in /v1/traces.
        headers: as in OTEL_EXPORTER_OTLP_HEADERS, e.g. `authorization=Bearer%20abc,x-project=1`.
        role: part of `service.name`, e.g. "worker"; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.
        project: under which Phoenix shows the traces.
    """
    url = endpoint.rstrip("/")
    url = url if url.endswith(_PATH) else url + _PATH
    session = requests.Session()
    session.trust_env = urlsplit(url).hostname not in LOOPBACK_HOSTS  # a proxy is for the outside world
    exporter = OTLPSpanExporter(url, headers=parse_headers(headers), timeout=_EXPORT_SECONDS, session=session)
    processor = BatchSpanProcessor(_Patient(exporter, url), schedule_delay_millis=_BATCH_MILLISECONDS)
    provider = TracerProvider(resource=_resource(role, project), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)  # spans that users' code makes join ours
    # It says everything itself, at each attempt; we say it once in a while.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    return Tracing(provider.get_tracer("freehold", __version__), content=content, close=lambda: _close(processor, exporter))


async def close(tracing: Tracing) -> None:
    """Send what is left; gives up after some seconds."""
    await asyncio.to_thread(tracing.close)


def _close(processor: BatchSpanProcessor, exporter: SpanExporter) -> None:
    """The SDK waits half a minute for an endpoint that is away; we do not."""
    closing = threading.Thread(target=processor.shutdown, name="last-spans", daemon=True)
    closing.start()
    closing.join(_CLOSE_SECONDS)
    if closing.is_alive():
        exporter.shutdown()  # ends its waiting for another attempt


def parse_headers(text: str) -> dict[str, str]:
    """`a=1,b=2%20c` -> `{"a": "1", "b": "2 c"}`, names in lower case."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _resource(role: str, project: str) -> Resource:
    ours = Resource(
        {
            "service.name": f"freehold-{role}",
            "service.version": __version__,
            "service.instance.id": str(new_id()),
            "host.name": socket.gethostname(),
            "openinference.project.name": project,
        }
    )
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())


class _Patient(SpanExporter):
    """Drops what the endpoint does not take and says so now and then."""

    def __init__(self, exporter: SpanExporter, url: str) -> None:
        self._exporter = exporter
        self._place = f"{urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition('@')[2]}"
        self._complained = -float(_COMPLAIN_SECONDS)
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            if time.monotonic() - self._complained >= _COMPLAIN_SECONDS:
                self._complained = time.monotonic()
                log.warning("%s takes no traces; %d spans are lost so far", self._place, self._lost, extra={"action": "traces_lost"})
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
