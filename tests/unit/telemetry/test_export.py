"""Where traces go."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tests.support.otlp import receiving

from freehold.config.settings import TelemetrySection
from freehold.telemetry import export, tracing


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("Authorization=Bearer%20abc,x-project=1", {"authorization": "Bearer abc", "x-project": "1"}),
        ("key=a=b, other = c ", {"key": "a=b", "other": "c"}),
    ],
)
def test_headers_are_read_as_the_specification_writes_them(text: str, headers: dict[str, str]) -> None:
    assert export.parse_headers(text) == headers


@pytest.mark.parametrize("ending", ["", "/", "/v1/traces"])
async def test_a_base_url_and_the_whole_url_lead_to_the_same_place(ending: str) -> None:
    with receiving() as receiver:
        async with tracing.exporting(TelemetrySection(otlp_endpoint=receiver.url + ending), role="worker"):
            with tracing.span("work", lambda: {"number": 1}):
                assert (tracing.traceparent() or "").startswith("00-")
        (span,) = receiver.spans
    assert (span.name, span.service, span.attributes["number"]) == ("work", "freehold-worker", 1)
    assert tracing.tracing() is None


async def test_what_a_variable_says_of_the_service_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-agents")
    with receiving() as receiver:
        async with tracing.exporting(TelemetrySection(otlp_endpoint=receiver.url), role="server"):
            with tracing.span("work"):
                pass
        assert [span.service for span in receiver.spans] == ["my-agents"]


@pytest.mark.parametrize("content", [False, True])
async def test_an_exception_leaves_its_type_and_its_text_only_where_content_is_kept(content: bool) -> None:
    with receiving() as receiver:
        async with tracing.exporting(TelemetrySection(otlp_endpoint=receiver.url, content=content), role="worker"):
            with pytest.raises(ValueError), tracing.span("work"):
                raise ValueError("the user said secret things")
        (span,) = receiver.spans
        assert any(b"secret things" in body for body in receiver.raw) is content
    assert (span.failed, span.attributes["error.type"]) == (True, "ValueError")


class Refusing(SpanExporter):
    """Takes nothing."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.FAILURE


def test_an_endpoint_that_takes_nothing_is_told_once_in_a_while_without_its_credentials(caplog: pytest.LogCaptureFixture) -> None:
    patient = export._Patient(Refusing(), "https://user:secret@collector.example:4318/v1/traces")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert patient.export([]) is SpanExportResult.FAILURE
    assert [record.getMessage() for record in caplog.records] == ["https://collector.example:4318 takes no traces; 0 spans are lost so far"]


def test_without_tracing_a_span_is_nothing() -> None:
    made: list[str] = []
    with tracing.span("work", lambda: made.append("attributes") or {}) as span:
        span.set_attributes({"a": 1})
        span.update_name("other")
        tracing.tell_content(span, lambda: made.append("content") or {})
    assert (made, tracing.traceparent(), tracing.keeps_content()) == ([], None, False)
