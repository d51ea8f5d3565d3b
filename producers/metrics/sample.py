"""`Sample`: one value of a metric at a moment, and where samples come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .catalogue import Metric
from .histogram import HistogramValue


@dataclass(frozen=True, slots=True)
class Sample:
    """One value.

    Attributes:
        labels: the values of `metric.labels`, in their order.
        value: a `HistogramValue` exactly where the metric is a histogram.
    """

    metric: Metric
    labels: tuple[str, ...]
    value: float | HistogramValue


Source = Callable[[], Iterable[Sample]]
"""Gives the samples of one process, or of a part of it; called by any thread."""
