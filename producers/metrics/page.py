"""`MetricsPage`: writes the samples of a moment as the text that Prometheus reads.

Each reading finds most of the page as it was. So what stands before a value is made once, and the lines of a series
anew only where its value has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from .all_metrics import METRICS, PIPELINE, Metric
from .histogram import HistogramValue
from .sample import Sample, SampleSource

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Value = float | HistogramValue


@dataclass(frozen=True, slots=True)
class _Series:
    """A series as it was written last.

    Attributes:
        begins: what stands before each number: one for a counter or gauge; those of the buckets, the count and the sum.
        text: its lines with that value.
    """

    begins: tuple[str, ...]
    value: Value
    text: str


class MetricsPage:
    """Any thread may write it, several at a time."""

    def __init__(self, sources: Sequence[SampleSource]) -> None:
        self._sources = sources
        self._series: dict[tuple[Metric, str, tuple[str, ...]], _Series] = {}

    def write(self) -> bytes:
        """The page of this moment: each metric that has a sample, in the order of the list."""
        found: dict[Metric, list[str]] = {}
        for source in self._sources:
            for sample in source.samples():
                found.setdefault(sample.metric, []).append(self._text(source.pipeline, sample))
        parts = (part for metric in METRICS if metric in found for part in (_head(metric), *found[metric]))
        return "".join(parts).encode()

    def _text(self, pipeline: str, sample: Sample) -> str:
        """The lines of a sample."""
        key = (sample.metric, pipeline, sample.labels)
        series = self._series.get(key)
        if series is None or series.value != sample.value:
            begins = _begins(pipeline, sample) if series is None else series.begins
            lines = map("{}{}\n".format, begins, map(_number, _numbers(sample.value)))
            series = self._series[key] = _Series(begins, sample.value, "".join(lines))
        return series.text


def _head(metric: Metric) -> str:
    return f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"


def _begins(pipeline: str, sample: Sample) -> tuple[str, ...]:
    metric = sample.metric
    names = (PIPELINE, *metric.labels)
    labels = [f'{name}="{_escaped(value)}"' for name, value in zip(names, (pipeline, *sample.labels), strict=True)]
    own = f"{{{','.join(labels)}}} "
    if metric.kind != "histogram":
        return (f"{metric.name}{own}",)
    bounds = (*map(repr, metric.bounds), "+Inf")
    buckets = (f'{metric.name}_bucket{{{",".join(labels)},le="{bound}"}} ' for bound in bounds)
    return (*buckets, f"{metric.name}_count{own}", f"{metric.name}_sum{own}")


def _numbers(value: Value) -> Iterable[float]:
    """The numbers of a value, in the order of `_begins`."""
    if not isinstance(value, HistogramValue):
        return (value,)
    return (*accumulate(value.counts), sum(value.counts), value.total)


def _number(value: float) -> str:
    """A number as Go reads it.

    >>> _number(3), _number(0.25), _number(float("inf"))
    ('3.0', '0.25', '+Inf')
    """
    text = repr(float(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
