"""A receiver of metrics by OTLP over HTTP, as a collector is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from support.sight.otlp import receiving

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
    """Keeps the last value of each series that was sent.

    Attributes:
        url: where an exporter sends metrics to.
    """

    def __init__(self) -> None:
        self.url = ""
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def answer(self, body: bytes) -> bytes:
        """Note what a request has, and answer it."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                self.take(scope.metrics)
        return bytes(ExportMetricsServiceResponse().SerializeToString())

    def take(self, metrics: Any) -> None:
        """Note what came, in the messages of the protocol."""
        for metric in metrics:
            for point in (*metric.gauge.data_points, *metric.sum.data_points):
                attributes = frozenset((one.key, one.value.string_value) for one in point.attributes)
                number = point.as_double if point.HasField("as_double") else point.as_int
                self._values[metric.name, attributes] = float(number)

    def value(self, name: str, attributes: dict[str, str]) -> float | None:
        """The sum of the series of this name that have these attributes; None where there is none."""
        wanted = set(attributes.items())
        found = [value for (known, has), value in list(self._values.items()) if known == name and wanted <= has]
        return sum(found) if found else None


@contextmanager
def receiving_metrics() -> Iterator[OtlpMetrics]:
    """A receiver that listens until the block ends."""
    receiver = OtlpMetrics()
    with receiving(receiver.answer, "/v1/metrics") as receiver.url:
        yield receiver
