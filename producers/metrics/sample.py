"""`Sample`: one value of a metric at a moment. `SampleSource`: where the samples of a process come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .all_metrics import Metric
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


@dataclass(frozen=True, slots=True)
class SampleSource:
    """Gives the samples of one process, or of a part of it.

    Attributes:
        pipeline: the namespace of the pipeline that they are about; each series has it as a label.
        samples: returns those of this moment; called by any thread.
    """

    pipeline: str
    samples: Callable[[], Iterable[Sample]]
