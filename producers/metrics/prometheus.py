"""`StokerCollector`: makes families of prometheus_client out of samples, each time it is asked. Importing it needs the
extra `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .all_metrics import METRICS, PIPELINE, Metric
from .histogram import HistogramValue
from .sample import Sample, SampleSource

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class StokerCollector(Collector):
    """Register it with a `CollectorRegistry` of your own to have Stoker's metrics beside yours."""

    def __init__(self, sources: Sequence[SampleSource]) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Family]:
        """Name nothing: a registry would have all samples made to look at their names."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Each metric that has a sample, in the order of the list."""
        found: dict[Metric, list[tuple[str, Sample]]] = {}
        for source in self._sources:
            for sample in source.samples():
                found.setdefault(sample.metric, []).append((source.pipeline, sample))
        return (_family(metric, found[metric]) for metric in METRICS if metric in found)


def _family(metric: Metric, samples: Sequence[tuple[str, Sample]]) -> Family:
    names = (PIPELINE, *metric.labels)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=names)
        for pipeline, sample in samples:
            value = sample.value
            assert isinstance(value, HistogramValue)
            histogram.add_metric((pipeline, *sample.labels), _buckets(metric, value), sum_value=value.total)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.text, labels=names)
    for pipeline, sample in samples:
        assert not isinstance(sample.value, HistogramValue)
        family.add_metric((pipeline, *sample.labels), sample.value)
    return family


def _buckets(metric: Metric, value: HistogramValue) -> list[tuple[str, float]]:
    """[(upper bound, how many values are not above it)]."""
    bounds = (*map(repr, metric.bounds), "+Inf")
    return list(zip(bounds, accumulate(value.counts), strict=True))
