"""A real worker, scraped over HTTP: its figures are those of an account that is kept outside."""

from __future__ import annotations

import shutil
import subprocess
import threading
from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.metrics.job_figures import UNKNOWN, JobFigures
from stoker.producers import Producer
from stoker.producers.metrics.all_metrics import METRICS
from stoker.producers.metrics.otel import observe_metrics
from stoker.producers.metrics.server import MetricsServer
from stoker.topology import ClusterSettings, Concurrency, Pipeline, RetryPolicy
from support.kafka.brokers import cannot_have
from support.scenes.worker import RunningWorker, create
from support.sight.otel_reading import read_points
from support.sight.scraping import Scrape, scrape
from support.waiting import wait_until

GRACE = timedelta(seconds=5)
RUNS_OF_OTEL = "messaging.process.duration.count"
DONE, SPENT, ASYNC = 60, 3, 20


def test_the_figures_agree_with_an_account_from_outside(cluster: ClusterSettings, namespace: str) -> None:
    """Runs, waits, outcomes, what runs and what waits; every metric is in the list of all, and valid for promtool."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2, tiers=(timedelta(seconds=1),))
    may_end = threading.Event()

    @pipeline.job(queue, name="act", retry=RetryPolicy(attempts=2), key=lambda number: f"k{number % 7}")
    def act(number: int) -> None:
        if number < 0:
            raise ValueError(number)

    @pipeline.job(queue, name="act_async")
    async def act_async(number: int) -> None:
        pass

    @pipeline.job(queue, name="wait", limits=[Concurrency(1)])
    def wait() -> None:
        may_end.wait(60)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(-SPENT, DONE))
        producer.enqueue_many(act_async.call(number) for number in range(ASYNC))
    worker, reader = (
        Worker(pipeline, cluster, WorkerSettings(grace=GRACE, revoke_grace=GRACE, concurrency=4)),
        InMemoryMetricReader(),
    )
    observe_metrics(worker.measure(), MeterProvider([reader]))
    with worker.serve_metrics(0) as server:
        running = RunningWorker(worker)
        try:
            wait_until(lambda: _settled(server, outcome="dead") == SPENT, 60, "the dead letters")
            wait_until(lambda: _settled(server, type="act_async", outcome="done") == ASYNC, 60, "the async jobs")
            wait_until(lambda: _settled(server, type="act", outcome="done") == DONE, 60, "the sync jobs")
            _check_ended(wait_until(lambda: _idle(scrape(server.port)), 60, "an idle worker"))
            with Producer(pipeline, cluster) as producer:
                producer.enqueue_many(wait.call() for _ in range(3))
            _check_waiting(wait_until(lambda: _busy(scrape(server.port)), 60, "one job that runs, and two that wait"))
            page = scrape(server.port)
            seen_by_otel = read_points(reader)
        finally:
            may_end.set()
            running.stop()
    by_type = {dict(key)["stoker.type"]: count for (name, key), count in seen_by_otel.items() if name == RUNS_OF_OTEL}
    assert by_type == {"act": DONE + 2 * SPENT, "act_async": ASYNC, "wait": 0}
    kinds = {metric.name: metric.kind for metric in METRICS}
    assert page.families().items() <= kinds.items()
    assert page.unlisted() == []
    _check_by_promtool(page.page)


def _settled(server: MetricsServer, **labels: str) -> float | None:
    return scrape(server.port).value("stoker_jobs_settled_total", **labels)


def _idle(page: Scrape) -> Scrape | None:
    is_idle = page.value("stoker_jobs_in_flight") == 0 and page.value("stoker_queue_unfinished") == 0
    return page if is_idle else None


def _check_ended(page: Scrape) -> None:
    assert page.value("stoker_jobs_settled_total", type="act", outcome="retried") == SPENT
    assert page.value("stoker_jobs_settled_total", type="act", outcome="dead", reason="attempts-spent") == SPENT
    runs = "messaging_process_duration_seconds_count"
    assert page.value(runs, type="act") == DONE + 2 * SPENT
    assert page.value(runs, type="act_async", messaging_operation_name="run", messaging_system="kafka") == ASYNC
    assert page.value("stoker_job_wait_seconds_count", type="act") == DONE + 2 * SPENT
    assert page.value("messaging_client_consumed_messages_total") == DONE + ASYNC + 2 * SPENT
    assert page.value("stoker_commits_total", answer="taken")
    assert page.value("stoker_rebalances_total", change="assigned") == 1
    assert page.value("stoker_partitions", state="running")
    assert page.value("stoker_runners", kind="threads") == 4
    assert page.value("stoker_runners_busy") == 0
    assert page.value("stoker_queue_oldest_age_seconds") == 0
    assert page.value("stoker_events_given_up_total") == 0
    assert (page.value("stoker_memory_bytes") or 0) > 10_000_000
    assert page.value("stoker_ready") == 1
    assert page.label_values("stoker_jobs_settled_total", "type") == {"act", "act_async", "wait", UNKNOWN}


def _busy(page: Scrape) -> Scrape | None:
    waiting = page.value("stoker_jobs_waiting", reason="gate:limited")
    is_old = (page.value("stoker_queue_oldest_age_seconds") or 0) > 0
    is_limited = page.value("stoker_limit_used") == 1  # the keeper of the limit reports now and then
    return page if page.value("stoker_runners_busy") == 1 and waiting == 2 and is_old and is_limited else None


def _check_waiting(page: Scrape) -> None:
    assert page.value("stoker_jobs_in_flight") == 3
    assert page.value("stoker_queue_unfinished") == 3
    assert page.value("stoker_limit_used") == page.value("stoker_limit_most") == 1
    assert (page.value("stoker_queue_oldest_age_seconds") or 0) < 60


def _check_by_promtool(page: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        cannot_have("promtool: install Debian's package prometheus")
        return
    done = subprocess.run([promtool, "check", "metrics"], input=page, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.expected_errors("the metrics of queue 'work' failed")
def test_metrics_that_fail_hold_up_no_job(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settling thread calls them: an error there must not end it, and with it the worker."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=1)

    @pipeline.job(queue)
    def act() -> None:
        pass

    def fail(*_: object) -> None:
        raise RuntimeError("no figures")

    monkeypatch.setattr(JobFigures, "fold_others", fail)
    monkeypatch.setattr(JobFigures, "fold_published", fail)
    create(pipeline, cluster)
    worker = Worker(pipeline, cluster, WorkerSettings(grace=GRACE, revoke_grace=GRACE))
    worker.measure()
    running = RunningWorker(worker)
    try:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue_many(act.call() for _ in range(10))
        running.wait_outcomes(Done=10)
    finally:
        running.stop()
