"""On a real broker: one order cancels a million jobs that wait, in bounded memory. It takes minutes."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from stoker.consumers.machine import resident_bytes
from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.topology import ClusterSettings
from support.scenes.worker import Journal, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

COUNT = 1_000_000
DEADLINE_S = 1_200.0
MOST_BYTES = 150_000_000
"""What a worker takes for its backlog at the pause and for what it reads again, beside its clients."""


@pytest.mark.soak
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("delay", [timedelta(0), timedelta(hours=2)], ids=["at a pause", "delayed"])
def test_a_million_jobs_are_cancelled_by_one_order(cluster: ClusterSettings, namespace: str, delay: timedelta) -> None:
    """They wait at a pause, or until they are due: none runs, each ends, and the one that comes later runs."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=4)

    @pipeline.job(queue, key="customer")
    def mail(number: int, customer: str) -> None:
        journal.note(number)

    create(pipeline, cluster)
    call = (mail.with_options(delay=delay) if delay else mail).call
    with Control(pipeline, cluster) as control, Producer(pipeline, cluster) as producer:
        control.pause(queue="work")
        producer.enqueue_many(call(number, f"c{number % 1_000}") for number in range(COUNT))
        before_bytes = resident_bytes(os.getpid()) or 0
        with running_worker(pipeline, cluster) as running:
            wait_until(lambda: running.worker.inspect()[0].held or running.worker.inspect()[0].delayed, 60, "the jobs")
            began_at_s = time.monotonic()
            control.cancel(job_type="mail", reason="wrong price")
            running.wait_outcomes(Cancelled=COUNT, within_s=DEADLINE_S)
            took_s, bytes_more = time.monotonic() - began_at_s, (resident_bytes(os.getpid()) or 0) - before_bytes
            control.resume(queue="work")
            producer.enqueue(mail, -1, "c0")
            running.wait_outcomes(Done=1)
            wait_all_committed(cluster, queue)
    print(f"{took_s=:.1f} {bytes_more=:,}")
    assert journal.noted == [-1]
    assert bytes_more < MOST_BYTES
