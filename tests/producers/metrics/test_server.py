"""The server of the metrics: what it answers, and what keeps it from listening."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker.producers.metrics import all_metrics
from stoker.producers.metrics.errors import MetricsPortTaken
from stoker.producers.metrics.health import HealthReport
from stoker.producers.metrics.histogram import HistogramValue
from stoker.producers.metrics.sample import Sample, SampleSource
from stoker.producers.metrics.server import MetricsServer
from support.sight.scraping import get, health, scrape


class Poorly:
    """The health of a process that lives, and is not ready."""

    def live(self) -> HealthReport:
        return HealthReport(detail={"worker": "w"})

    def ready(self) -> HealthReport:
        return HealthReport(why=("it has no partitions",))


def samples() -> Iterator[Sample]:
    yield Sample(all_metrics.UNFINISHED, ("mails",), 3)
    yield Sample(all_metrics.SETTLED, ("mails", "send", "done", ""), 7)
    counts = (2, *(0 for _ in all_metrics.WAIT_BOUNDS_S[1:]), 1)
    yield Sample(all_metrics.WAIT_SECONDS, ("mails", "send"), HistogramValue(counts, 9.5))


SOURCE = SampleSource("shop", samples)


def test_it_answers_metrics_and_health() -> None:
    """Counters, gauges and cumulative buckets; 200 or 503 with the reasons; 404 for all else."""
    with MetricsServer([SOURCE], 0, health=Poorly()) as server:
        found = scrape(server.port)
        assert found.value("stoker_queue_unfinished", pipeline="shop", queue="mails") == 3
        assert found.value("stoker_jobs_settled_total", type="send", outcome="done") == 7
        assert found.value("stoker_job_wait_seconds_bucket", le="0.005") == 2
        assert found.value("stoker_job_wait_seconds_bucket", le="+Inf") == 3
        assert found.value("stoker_job_wait_seconds_count") == 3
        assert found.value("stoker_job_wait_seconds_sum") == 9.5
        assert health(server.port, "/live") == (200, {"live": True, "why": [], "worker": "w"})
        assert health(server.port, "/ready") == (503, {"ready": False, "why": ["it has no partitions"]})
        assert get(server.port, "/other")[0] == 404
        assert "/metrics" in get(server.port, "/")[1]


@pytest.mark.expected_errors("could not be answered")
def test_a_failed_scrape_is_an_error_of_http() -> None:
    """A page without samples would pass for a process without jobs."""

    def failing() -> Iterator[Sample]:
        raise RuntimeError("no figures")

    with MetricsServer([SampleSource("shop", failing)], 0) as server:
        assert get(server.port, "/metrics")[0] == 500
        assert get(server.port, "/live")[0] == 200


def test_a_port_is_taken_once_and_free_after_the_end() -> None:
    """The message has the address and the options; the end frees the port at once."""
    with MetricsServer([], 0) as server:
        get(server.port, "/live")
        with pytest.raises(MetricsPortTaken, match=rf"127\.0\.0\.1:{server.port} .*--metrics-port"):
            MetricsServer([], server.port)
    MetricsServer([], server.port).close()
