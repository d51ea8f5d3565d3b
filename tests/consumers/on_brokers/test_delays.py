"""On a real broker: a job that is enqueued with a delay starts when it is due, never before, however far that is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from stoker.consumers.inspection import waiting_counts
from stoker.operations.cluster_view import ClusterView
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import inspect_queues
from stoker.producers import AsyncProducer, Producer, Receipt
from stoker.topology import ClusterSettings, Queue
from stoker.topology.declaration.delays import DelayClass
from support.scenes.worker import Journal, create, declare_queue, headers_of, read_topic, running_worker
from support.waiting import wait_until

TEN_YEARS = timedelta(days=3_652)


def _next_due_of_two(cluster: ClusterSettings, queue: Queue) -> datetime:
    """When the next job is due, once the queue's workers have reported that two wait for their time."""
    view, found = ClusterView(cluster, timeout_s=60.0), list[datetime]()

    def look() -> bool:
        [status] = inspect_queues(view, [queue], read_offsets(view, [queue]), None)
        waits = status.waits
        found.extend([waits.next_due] if waits is not None and waits.due == 2 and waits.next_due is not None else [])
        return bool(found)

    wait_until(look)
    return found[0]


def test_delayed_jobs_start_when_they_are_due(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second, a day, ten years, and an instant that is past; given to each kind of producer.

    The workers report what waits, and when the next of it is due, also where nothing else does.
    """
    monkeypatch.setattr(waiting_counts, "REPEAT_S", 0.3)
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    async def enqueue_async(at: datetime) -> Receipt:
        async with AsyncProducer(pipeline, cluster) as producer:
            return await producer.enqueue(act.with_options(at=at), 2)

    create(pipeline, cluster)
    now = datetime.now(UTC)
    with Producer(pipeline, cluster) as producer:
        soon = producer.enqueue(act.with_options(delay=timedelta(seconds=1)), 1)
        far = producer.enqueue(act.with_options(delay=TEN_YEARS), 4)
        producer.enqueue_many([act.with_options(delay=timedelta(days=1)).call(3)])
        plain = producer.enqueue(act, 5)
    past = asyncio.run(enqueue_async(now - timedelta(days=1)))
    assert soon.due_at is not None
    assert far.due_at is not None
    assert far.due_at - now >= TEN_YEARS
    assert (past.due_at, plain.due_at) == (now - timedelta(days=1), None)

    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=3)
        started = {run.what: run.at_s for run in journal.runs}
        wait_until(lambda: len(read_topic(cluster, queue.delay_topics[DelayClass.LONG], queue.partitions)) == 2)
        next_due = _next_due_of_two(cluster, queue)
    assert timedelta(hours=23) < next_due - now < timedelta(hours=25)
    assert set(started) == {1, 2, 5}
    assert started[1] >= soon.due_at.timestamp()
    waiting = read_topic(cluster, queue.delay_topics[DelayClass.LONG], queue.partitions)
    assert {headers_of(record)["ce_id"].decode() for record in waiting} >= {far.job_id}


def test_a_delayed_job_lets_the_jobs_of_its_key_go_first(cluster: ClusterSettings, namespace: str) -> None:
    """Unless the queue keeps a strict order, those that are enqueued later run while it waits."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(act.with_options(key="k", delay=timedelta(hours=2)), 1)
        producer.enqueue(act.with_options(key="k"), 2)
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=1, Delayed=1)
    assert journal.noted == [2]


def test_in_strict_order_the_jobs_of_a_key_wait_for_a_delayed_one(cluster: ClusterSettings, namespace: str) -> None:
    """The order is that of the enqueueing, so a delayed job delays those of its key that come after it."""
    pipeline, queue = declare_queue(namespace, ordering="strict")
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        due_s = time.time() + 2
        producer.enqueue(act.with_options(key="k", delay=timedelta(seconds=2)), 1)
        producer.enqueue(act.with_options(key="k"), 2)
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=2)
    assert journal.noted == [1, 2]
    assert journal.runs[0].at_s >= due_s
