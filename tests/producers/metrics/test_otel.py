"""OpenTelemetry's SDK sees the same samples, as observable instruments of its own collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from stoker.producers.metrics import all_metrics
from stoker.producers.metrics.histogram import HistogramValue
from stoker.producers.metrics.otel import observe_metrics
from stoker.producers.metrics.sample import Sample, SampleSource
from support.sight.otel_reading import read_points


def samples() -> Iterator[Sample]:
    yield Sample(all_metrics.UNFINISHED, ("mails",), 3)
    yield Sample(all_metrics.SETTLED, ("mails", "send", "done", ""), 7)
    counts = (2, *(0 for _ in all_metrics.RUN_BOUNDS_S[1:]), 1)
    yield Sample(all_metrics.RUN_SECONDS, ("kafka", "run", "mails", "send"), HistogramValue(counts, 9.5))


def test_each_metric_is_an_instrument_with_the_names_of_the_conventions() -> None:
    """Gauges and counters as they are; a histogram as its buckets, its count and its sum."""
    reader = InMemoryMetricReader()
    observe_metrics(SampleSource("shop", samples), MeterProvider([reader]))
    found = read_points(reader)
    assert found["stoker.queue.unfinished", _key({"stoker.pipeline": "shop", "stoker.queue": "mails"})] == 3
    of_send = {"stoker.pipeline": "shop", "stoker.queue": "mails", "stoker.type": "send"}
    done = {**of_send, "stoker.outcome": "done", "stoker.reason": ""}
    assert found["stoker.jobs.settled", _key(done)] == 7
    run = {**of_send, "messaging.system": "kafka", "messaging.operation.name": "run"}
    name = "messaging.process.duration"
    assert found[f"{name}.count", _key(run)] == 3
    assert found[f"{name}.sum", _key(run)] == 9.5
    assert found[f"{name}.bucket", _key({**run, "le": "0.001"})] == 2
    assert found[f"{name}.bucket", _key({**run, "le": "+Inf"})] == 3


def test_one_collection_looks_once() -> None:
    """A look at a worker costs more than an instrument: forty of them must not cost forty looks."""
    looks = []

    def counted() -> Iterator[Sample]:
        looks.append(1)
        return samples()

    reader = InMemoryMetricReader()
    observe_metrics(SampleSource("shop", counted), MeterProvider([reader]))
    read_points(reader)
    assert len(looks) == 1


def test_without_an_sdk_nothing_is_looked_up() -> None:
    """The API alone makes instruments that do nothing."""

    def never() -> Iterator[Sample]:
        raise AssertionError("looked up")

    observe_metrics(SampleSource("shop", never), NoOpMeterProvider())


def _key(attributes: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(attributes.items())
