"""On a real broker: jobs that wait start soon after a worker has their partitions."""

from __future__ import annotations

import logging

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import Journal, create, declare_queue, running_worker

STARTS = 5
SOON_S = 0.7
"""Restoring and the first commit take some 0.1 s on an idle machine. With a client that sleeps it was 1.0 s."""


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
