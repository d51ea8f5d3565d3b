"""On a real broker: jobs that orders cancel do not run, or end; an order is forgotten once its job has ended."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from stoker.consumers.records.cancels import Cancels
from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.producers.control.standing import read_given_orders, read_standing_orders
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from support.scenes.worker import (
    Gate,
    Journal,
    RunningWorker,
    create,
    declare_queue,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until

WAIT = timedelta(seconds=60)


def declare(namespace: str, journal: Journal, gate: Gate | None = None) -> tuple[Pipeline, Queue, JobType[[int], None]]:
    """One job type; its first job waits at the gate."""
    pipeline, queue = declare_queue(namespace, partitions=2)

    @pipeline.job(queue)
    def mail(number: int) -> None:
        journal.note(number)
        if gate is not None and number == 0:
            gate.wait()

    return pipeline, queue, mail


def cancels_of(running: RunningWorker) -> Cancels:
    """What stands in its process."""
    return running.worker._cancels


def test_a_cancelled_job_does_not_run_and_its_order_is_forgotten(cluster: ClusterSettings, namespace: str) -> None:
    """Ordered before it comes, before the worker starts; the trail keeps the order."""
    journal = Journal()
    pipeline, queue, mail = declare(namespace, journal)
    create(pipeline, cluster)
    with Control(pipeline, cluster, operator="ann") as control, Producer(pipeline, cluster) as producer:
        receipt = control.cancel("job-1", reason="wrong price")
        producer.enqueue(mail.with_options(job_id="job-1"), 1)
        producer.enqueue(mail.with_options(job_id="job-2"), 2)
        with running_worker(pipeline, cluster) as running:
            running.wait_outcomes(Cancelled=1, Done=1)
            wait_until(lambda: not read_standing_orders(pipeline, cluster), what="the order to be forgotten")
            wait_until(lambda: not cancels_of(running).stands, what="the worker to forget it")
            assert receipt.wait(WAIT).is_taken_by_all
            wait_all_committed(cluster, queue)
    assert journal.noted == [2]
    (given,) = read_given_orders(pipeline, cluster)
    assert (given.order.job_id, given.order.operator, given.order.reason) == ("job-1", "ann", "wrong price")


def test_ten_thousand_jobs_are_cancelled_in_one_call(cluster: ClusterSettings, namespace: str) -> None:
    """Within seconds; those that come are skipped, and then forgotten."""
    journal, count = Journal(), 10_000
    pipeline, _, mail = declare(namespace, journal)
    create(pipeline, cluster)
    job_ids = [str(uuid4()) for _ in range(count)]
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        running.wait_partitions(2)
        began_s = time.monotonic()
        receipt = control.cancel(*job_ids)
        answers = receipt.wait(WAIT)
        took_s = time.monotonic() - began_s
        assert answers.is_taken_by_all
        assert receipt.count == count
        assert len(cancels_of(running)) == count
        assert took_s < 20
        producer.enqueue_many(mail.with_options(job_id=job_id).call(1) for job_id in job_ids[:2_000])
        running.wait_outcomes(Cancelled=2_000)
        wait_until(lambda: len(cancels_of(running)) == count - 2_000, what="those that have ended to be forgotten")
    assert journal.noted == []
