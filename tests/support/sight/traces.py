"""What the tests of traces stand on: an SDK that is set up for one test, and an OTLP receiver in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

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


class OtlpReceiver:
    """Takes spans by OTLP over HTTP, as a collector does.

    Attributes:
        spans: as they came, in the messages of the protocol.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        receiver.spans.extend(scope.spans)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # its base names it so
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where an exporter sends spans to."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"


@contextmanager
def receiving_otlp() -> Iterator[OtlpReceiver]:
    """A receiver that listens until the block ends."""
    receiver = OtlpReceiver()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join(DEADLINE_S)
