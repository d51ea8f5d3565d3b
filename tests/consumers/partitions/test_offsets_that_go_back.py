"""On a real broker: the client goes back in a partition that is at work, as in a log that was truncated."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import TopicPartition

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.queue import Ordering
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

JOBS = 12


@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_jobs_that_were_fetched_and_have_not_begun_run_after_the_client_has_gone_back(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture, ordering: Ordering
) -> None:
    """The first job of the only key stands still, all others wait behind it; the client goes back to the seventh."""
    pipeline, queue = declare_queue(namespace, partitions=1, ordering=ordering)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, key=lambda number: "one", timeout=timedelta(minutes=5))
    def act(number: int) -> None:
        if number == 0:
            gate.wait()
        journal.note(number)

    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue_many(act.call(number) for number in range(JOBS))
        wait_until(lambda: running.worker.snapshot()[0].in_flight == JOBS, what="all jobs to be fetched")
        (parts,) = running.worker._parts
        parts.group.member.consumer.seek(TopicPartition(queue.topic, 0, 6))
        wait_until(lambda: "was delivered, where" in caplog.text, what="the worker to see that offsets went back")
        gate.open()
        wait_all_committed(cluster, queue)
    assert journal.noted == list(range(JOBS)), "each has run once, in its order"
