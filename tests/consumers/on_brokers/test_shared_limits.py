"""On a real broker: two workers keep one limit together, and use most of it."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, Concurrency, Rate
from support.kafka.finished_clients import fail_for_good
from support.scenes.worker import Journal, create, declare_queue, running_worker

COUNT = 40
JOBS = 120
OUTLIVES_S = 6.0


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_a_rate(cluster: ClusterSettings, namespace: str, workers: int) -> None:
    """No second has more than 40 begins, wherever it begins; and nothing is lost.

    A busy machine may call a handler late after its job was counted, so a fifth of the second is left out.
    """
    journal = Journal()
    pipeline, queue = declare_queue(
        namespace, partitions=4, limits=[Rate(COUNT, per=timedelta(seconds=1)), Concurrency(8)]
    )

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note((time.monotonic(), number))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(JOBS))
    with running_worker(pipeline, cluster):
        if workers == 2:
            with running_worker(pipeline, cluster):
                journal.wait(JOBS)
        else:
            journal.wait(JOBS)
    begun = sorted(at_s for at_s, _ in journal.noted)
    assert sorted(number for _, number in journal.noted) == list(range(JOBS))
    for first_s in begun:
        assert sum(first_s <= at_s < first_s + 0.8 for at_s in begun) <= COUNT


def test_a_job_that_outlives_its_worker_keeps_its_slot(cluster: ClusterSettings, namespace: str) -> None:
    """It sleeps in one call, which no interrupt ends; the next worker begins none beside it, and runs it anew later."""
    began, ended = Journal(), Journal()
    pipeline, queue = declare_queue(namespace, partitions=1, limits=[Concurrency(1)])

    @pipeline.job(queue)
    def sleep_at_first() -> None:
        began.note(time.monotonic())
        try:
            time.sleep(OUTLIVES_S if len(began.noted) == 1 else 0.0)
        finally:
            ended.note(time.monotonic())

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(sleep_at_first)
    with running_worker(pipeline, cluster, grace=timedelta(seconds=0.2)):
        began.wait(1)
    with running_worker(pipeline, cluster):
        began.wait(2)
        ended.wait(2)
    assert began.noted[1] >= ended.noted[0]


@pytest.mark.expected_errors("test_fatal_error: a test wants it")
def test_jobs_go_on_under_a_shared_limit_whose_clients_failed_for_good(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread of shares has a producer and a consumer; both are replaced, and that is logged once."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=1, limits=[Rate(COUNT, per=timedelta(seconds=1))])

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with (
        caplog.at_level(logging.WARNING, "stoker.worker"),
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster),
    ):
        producer.enqueue(act, 0)
        journal.wait(1)
        assert fail_for_good("-shares") >= 2
        producer.enqueue(act, 1)
        journal.wait(2)
    logged = [record for record in caplog.records if "the thread stoker-shares-" in record.getMessage()]
    assert len(logged) == 1
