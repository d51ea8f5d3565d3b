"""A receiver of metrics by OTLP over HTTP, as a collector is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

END_WITHIN_S = 10.0
SET_UP = """
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

set_meter_provider(
    MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter("{url}"), export_interval_millis=500)])
)
"""
"""What an application does to have its metrics sent."""


class OtlpMetrics:
    """Keeps the last value of each series that was sent."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        receiver.take(scope.metrics)
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # its base names it so
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def take(self, metrics: Any) -> None:
        """Note what came, in the messages of the protocol."""
        for metric in metrics:
            for point in (*metric.gauge.data_points, *metric.sum.data_points):
                attributes = frozenset((one.key, one.value.string_value) for one in point.attributes)
                number = point.as_double if point.HasField("as_double") else point.as_int
                self._values[metric.name, attributes] = float(number)

    @property
    def url(self) -> str:
        """Where an exporter sends metrics to."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/metrics"

    def value(self, name: str, attributes: dict[str, str]) -> float | None:
        """The sum of the series of this name that have these attributes; None where there is none."""
        wanted = set(attributes.items())
        found = [value for (known, has), value in list(self._values.items()) if known == name and wanted <= has]
        return sum(found) if found else None


@contextmanager
def receiving_metrics() -> Iterator[OtlpMetrics]:
    """A receiver that listens until the block ends."""
    receiver = OtlpMetrics()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join(END_WITHIN_S)
