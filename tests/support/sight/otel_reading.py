"""What an OpenTelemetry reader has collected, as plain numbers."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Point = tuple[str, frozenset[tuple[str, Any]]]


def read_points(reader: InMemoryMetricReader) -> dict[Point, float]:
    """{(name, attributes): value} of one collection."""
    collected = reader.get_metrics_data()
    assert collected is not None
    found: dict[Point, float] = {}
    for resource in collected.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[metric.name, frozenset((point.attributes or {}).items())] = point.value  # type: ignore[union-attr]  # no histogram is among them
    return found
