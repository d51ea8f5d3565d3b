"""The page is what `prometheus_client` would write of the same samples, also when it is written again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stoker.producers.metrics import all_metrics
from stoker.producers.metrics.histogram import HistogramValue
from stoker.producers.metrics.page import MetricsPage
from stoker.producers.metrics.prometheus import StokerCollector
from stoker.producers.metrics.sample import Sample, SampleSource
from stoker.producers.metrics.server import MetricsServer
from support.sight.scraping import scrape

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[3]
BUCKETS = len(all_metrics.WAIT_BOUNDS_S) + 1


def histogram(number: int) -> HistogramValue:
    return HistogramValue(tuple(range(number, number + BUCKETS)), 0.1 * number)


def test_each_metric_is_listed() -> None:
    """A page leaves out what is not in the list, and says nothing: so all are in it, and none is made elsewhere."""
    declared = [one for one in vars(all_metrics).values() if isinstance(one, all_metrics.Metric)]
    assert declared
    assert [one.name for one in declared if one not in all_metrics.METRICS] == []
    layers = (ROOT / layer for layer in ("producers", "consumers", "operations"))
    made = [path for layer in layers for path in layer.rglob("*.py") if "Metric(" in path.read_text(encoding="utf-8")]
    assert [path.name for path in made] == ["all_metrics.py"]


def test_it_is_written_as_by_the_library() -> None:
    """Counters, gauges, histograms, labels that need quoting, endless numbers; what has changed and what has not."""
    values: dict[str, float] = {"same": 3, "changing": 1}
    waits = {"same": histogram(1), "changing": histogram(2)}

    def samples() -> list[Sample]:
        found = [Sample(all_metrics.UNFINISHED, (queue,), value) for queue, value in values.items()]
        found += [Sample(all_metrics.WAIT_SECONDS, (queue, 'a\\b"c\nd'), value) for queue, value in waits.items()]
        return [*found, Sample(all_metrics.MEMORY, (), float("inf")), Sample(all_metrics.CRASHES, ("same",), True)]

    source, registry = SampleSource("shop", samples), CollectorRegistry()
    registry.register(StokerCollector([source]))
    page = MetricsPage([source])
    for number in range(3):
        assert read(page.write()) == read(generate_latest(registry))
        values["changing"] += 0.5
        waits["changing"] = histogram(number + 3)


def read(page: bytes) -> list[tuple[object, ...]]:
    families = text_string_to_metric_families(page.decode())
    found = [
        (family.name, family.type, family.documentation, one.name, sorted(one.labels.items()), one.value)
        for family in families
        for one in family.samples
    ]
    assert found
    return sorted(found, key=repr)


def test_it_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core is installed without prometheus_client."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "stoker.producers.metrics.prometheus", raising=False)
    with MetricsServer([SampleSource("shop", lambda: [Sample(all_metrics.UNFINISHED, ("mails",), 3)])], 0) as server:
        assert scrape(server.port).value("stoker_queue_unfinished") == 3
