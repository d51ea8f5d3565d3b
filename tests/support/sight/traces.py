"""What the tests of traces stand on: an SDK that is set up for one test, and an OTLP receiver in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from support.sight.otlp import receiving
from support.waiting import wait_until

DEADLINE_S = 30.0


class Recorded:
    """The spans that were ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        """In the order in which they ended."""
        return self._exporter.get_finished_spans()

    def named(self, prefix: str) -> list[ReadableSpan]:
        """Those whose names begin so, in the order in which they began."""
        found = [span for span in self.all if span.name.startswith(prefix)]
        return sorted(found, key=lambda span: span.start_time or 0)

    def wait(self, prefix: str, count: int) -> list[ReadableSpan]:
        """Wait for so many of these."""
        wait_until(
            lambda: len(self.named(prefix)) >= count,
            DEADLINE_S,
            f"{count} spans {prefix!r}; there are {[span.name for span in self.all]}",
        )
        return self.named(prefix)


def set_up(monkeypatch: pytest.MonkeyPatch, provider: TracerProvider) -> None:
    """Let this be the program's SDK until the test ends; OpenTelemetry itself takes one for good."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


def record_spans(monkeypatch: pytest.MonkeyPatch, sampler: Sampler | None = None) -> Recorded:
    """Set up an SDK that keeps the spans in memory."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_up(monkeypatch, provider)
    return Recorded(exporter)


class RaisingProcessor(SpanProcessor):
    """Raises at one of the two events of a span."""

    def __init__(self, event: str) -> None:
        self._event = event

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Raise, if it is this one."""
        self._raise_at("start")

    def on_end(self, span: ReadableSpan) -> None:
        """Raise, if it is this one."""
        self._raise_at("end")

    def _raise_at(self, event: str) -> None:
        if event == self._event:
            raise RuntimeError("no room for spans")


class RaisingSampler(Sampler):
    """Raises over each span."""

    def should_sample(self, *_args: Any, **_named: Any) -> SamplingResult:
        """Raise."""
        raise RuntimeError("no rules for spans")

    def get_description(self) -> str:
        """For people."""
        return "raising"


class OtlpReceiver:
    """Takes spans by OTLP over HTTP, as a collector does.

    Attributes:
        url: where an exporter sends spans to.
        spans: as they came, in the messages of the protocol.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []

    def answer(self, body: bytes) -> bytes:
        """Note what a request has, and answer it."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return bytes(ExportTraceServiceResponse().SerializeToString())


@contextmanager
def receiving_otlp() -> Iterator[OtlpReceiver]:
    """A receiver that listens until the block ends."""
    receiver = OtlpReceiver()
    with receiving(receiver.answer, "/v1/traces") as receiver.url:
        yield receiver
