"""`observe_metrics`: gives the samples to OpenTelemetry as observable instruments, for those who send metrics by OTLP.

Only OpenTelemetry's API is used: without an SDK nothing is called. With one, each collection looks the samples up once.
Nothing is recorded job by job, which would cost 10 µs each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from threading import Lock
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider

from .all_metrics import METRICS, PIPELINE, Metric
from .histogram import HistogramValue
from .sample import Sample, SampleSource

METER: Final = "stoker"
LOOK_LASTS_S: Final = 1.0
"""One collection calls back for each instrument: all of them get the samples of one look."""
_SUFFIXES: Final = ("_total", "_seconds", "_bytes")
_OF_CONVENTIONS: Final = ("messaging_", "error_")

Callback = Callable[[CallbackOptions], Iterable[Observation]]
Attributes = dict[str, str]
Observe = Callable[[Metric, HistogramValue, Attributes], Iterable[Observation]]


def observe_metrics(source: SampleSource, provider: MeterProvider | None = None) -> None:
    """Make an observable instrument of each metric of the list that the source has samples of.

    The API has no observable histogram. So one becomes three counters: `<name>.bucket` with the attribute `le`,
    cumulative as in Prometheus, `<name>.count` and `<name>.sum`.

    Args:
        provider: None takes the global one, which a program sets before.
    """
    meter = (provider or get_meter_provider()).get_meter(METER)
    look = _Look(source)
    for metric in METRICS:
        _add(meter, metric, look)


def otel_name(name: str) -> str:
    """The name of a metric as OpenTelemetry has it.

    >>> otel_name("messaging_process_duration_seconds"), otel_name("stoker_jobs_settled_total")
    ('messaging.process.duration', 'stoker.jobs.settled')
    """
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name.replace("_", ".")


def attribute(label: str) -> str:
    """The attribute of a label: that of the conventions, or in the namespace `stoker`.

    >>> attribute("messaging_operation_name"), attribute("queue")
    ('messaging.operation.name', 'stoker.queue')
    """
    return label.replace("_", ".") if label.startswith(_OF_CONVENTIONS) else f"stoker.{label}"


class _Look:
    """The samples of one moment, by metric; `of_all` has the attributes that all of them share."""

    def __init__(self, source: SampleSource) -> None:
        self._source = source
        self.of_all = {attribute(PIPELINE): source.pipeline}
        self._lock = Lock()
        self._at_s = -LOOK_LASTS_S
        self._samples: dict[Metric, list[Sample]] = {}

    def of(self, metric: Metric) -> list[Sample]:
        """The samples of a metric, which may be a second old."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._at_s >= LOOK_LASTS_S:
                self._at_s, self._samples = now_s, {}
                for sample in self._source.samples():
                    self._samples.setdefault(sample.metric, []).append(sample)
            return self._samples.get(metric, [])


def _add(meter: Meter, metric: Metric, look: _Look) -> None:
    name = otel_name(metric.name)
    if metric.kind == "gauge":
        meter.create_observable_gauge(name, [_plain(metric, look)], metric.unit, metric.text)
    elif metric.kind == "counter":
        meter.create_observable_counter(name, [_plain(metric, look)], metric.unit, metric.text)
    else:
        for part, unit, observe in (("bucket", "1", _buckets), ("count", "1", _count), ("sum", metric.unit, _sum)):
            meter.create_observable_counter(f"{name}.{part}", [_parts(metric, look, observe)], unit, metric.text)


def _plain(metric: Metric, look: _Look) -> Callback:
    def call_back(_options: CallbackOptions) -> Iterator[Observation]:
        for sample in look.of(metric):
            if not isinstance(sample.value, HistogramValue):
                number = sample.value + 0  # a bool would keep OTLP's exporter from sending anything
                yield Observation(number, {**look.of_all, **_attributes(sample)})

    return call_back


def _parts(metric: Metric, look: _Look, observe: Observe) -> Callback:
    def call_back(_options: CallbackOptions) -> Iterator[Observation]:
        for sample in look.of(metric):
            if isinstance(sample.value, HistogramValue):
                yield from observe(sample.metric, sample.value, {**look.of_all, **_attributes(sample)})

    return call_back


def _buckets(metric: Metric, value: HistogramValue, attributes: Attributes) -> Iterator[Observation]:
    bounds = (*map(repr, metric.bounds), "+Inf")
    for bound, count in zip(bounds, accumulate(value.counts), strict=True):
        yield Observation(count, {**attributes, "le": bound})


def _count(_metric: Metric, value: HistogramValue, attributes: Attributes) -> Iterator[Observation]:
    yield Observation(sum(value.counts), attributes)


def _sum(_metric: Metric, value: HistogramValue, attributes: Attributes) -> Iterator[Observation]:
    yield Observation(value.total, attributes)


def _attributes(sample: Sample) -> Attributes:
    return dict(zip(map(attribute, sample.metric.labels), sample.labels, strict=True))
