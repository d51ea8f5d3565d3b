"""A job that begins late, or waits for too long, is followed by one job with its story."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobStory
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker, wait_all_committed

pytestmark = pytest.mark.timeout(180)

LATE = timedelta(seconds=1)


def test_a_late_job_is_followed_once_whether_it_waits_or_begins(cluster: ClusterSettings, namespace: str) -> None:
    """The second job of the key waits behind the first, and is found waiting; it begins late as well, and once is
    enough. A job that was delayed for longer than that is not late."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    oncall = pipeline.queue("oncall", partitions=1)
    stories, done, gate = Journal(), Journal(), Gate()

    @pipeline.job(oncall)
    def page(story: JobStory) -> None:
        stories.note(story)

    @pipeline.job(queue, key="customer", on_late=page, late_after=LATE, owner="payments")
    def charge(customer: str, number: int) -> None:
        done.note(number)

    @pipeline.job(queue, key="customer")
    def hold(customer: str) -> None:
        gate.wait()

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue(charge.with_options(delay=LATE * 2), "eve", 0)
        done.wait_for(0)
        producer.enqueue(hold, "ada")
        late = producer.enqueue(charge, "ada", 1).job_id
        producer.enqueue(charge, "eve", 2)
        done.wait_for(2)
        gate.opened.wait(LATE.total_seconds() * 1.5)
        gate.open()
        (story, *_) = stories.wait(1)
        done.wait_for(1)
        for one in (queue, oncall):
            wait_all_committed(cluster, one)
    assert [one.job_id for one in stories.noted] == [late]
    assert (story.reason, story.job_type, story.key, story.owner, story.error_type) == (
        *("late", "charge", "ada", "payments", ""),
    )
    assert 1.0 < story.waited_s < 60
