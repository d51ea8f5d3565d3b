"""On a real broker: jobs that wait start soon after a worker has their partitions."""

from __future__ import annotations

import logging
import time

import pytest
from confluent_kafka import TopicPartition

from stoker.consumers.kafka.clients import make_reader
from stoker.consumers.kafka.side_readers import SideReader
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import Journal, create, declare_queue, running_worker

STARTS = 5
SOON_S = 0.7
"""Restoring and the first commit take some 0.1 s on an idle machine. With a client that sleeps it was 1.0 s."""

IDLE_S = 1.3
"""A client that fetches nothing looks around once a second: from here on it would be 0.7 s until its next look."""
AT_ONCE_S = 0.4


def test_waiting_jobs_start_soon_after_the_assignment(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The fastest of some starts shows what they wait for, however busy the machine is."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def work(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    taken_s = []
    with Producer(pipeline, cluster) as producer, caplog.at_level(logging.INFO, "stoker.worker"):
        for number in range(STARTS):
            producer.enqueue(work, number)
            caplog.clear()
            with running_worker(pipeline, cluster):
                journal.wait(number + 1)
            assigned = next(line for line in caplog.records if line.message.startswith("partitions assigned: [0]"))
            taken_s.append(journal.runs[-1].at_s - assigned.created)
    assert min(taken_s[1:]) < SOON_S, taken_s  # the first start of a group asks where its log begins meanwhile


def test_a_side_reader_that_was_idle_fetches_at_once_what_it_begins(cluster: ClusterSettings, namespace: str) -> None:
    """A retry may be due already when a worker gets its partition; the fastest of some counts, as above."""
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def work(number: int) -> None:
        """Never run."""

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(work, 1)
    taken_s = []
    for number in range(3):
        reader = SideReader(make_reader(cluster, queue, f"reader-{number}", {}))
        assert reader.consumer.poll(IDLE_S) is None
        began_at_s = time.monotonic()
        reader.begin([TopicPartition(queue.topic, 0, 0)])
        assert reader.consumer.poll(60) is not None
        taken_s.append(time.monotonic() - began_at_s)
        reader.close()
    assert min(taken_s) < AT_ONCE_S, taken_s
