"""On a real broker: of several jobs of one identity one runs, in each mode, and the others end as its duplicates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

from stoker.producers import AsyncProducer, Producer
from stoker.topology import ClusterSettings, Pipeline, Unique
from support.scenes.worker import (
    Gate,
    Journal,
    create,
    declare_queue,
    running_worker,
    wait_all_committed,
)
from support.sight.events import job_events
from support.waiting import wait_until

SECOND = timedelta(seconds=1)


def duplicates(cluster: ClusterSettings, pipeline: Pipeline) -> Mapping[str, str]:
    """{id of a job that has ended as a duplicate: of which job}, by the events."""
    found = [event for event in job_events(cluster, pipeline) if event["detail"].get("reason") == "duplicate"]
    assert all(event["event"] == "cancelled" for event in found)
    return {event["job_id"]: event["detail"]["winner"] for event in found}


def wait_duplicates(cluster: ClusterSettings, pipeline: Pipeline, expected: Mapping[str, str]) -> None:
    """Wait for the events of these, and of no others."""
    wait_until(lambda: duplicates(cluster, pipeline) == expected)


def test_a_job_is_dropped_while_another_of_its_identity_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Whoever enqueues it, and by the named argument alone; another customer's runs beside it."""
    pipeline, queue = declare_queue(namespace)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, unique=Unique(by="customer"))
    def act(customer: str, number: int) -> None:
        journal.note((customer, number))
        if number == 1:
            gate.wait()

    async def enqueue_async() -> str:
        async with AsyncProducer(pipeline, cluster) as producer:
            return (await producer.enqueue(act, "a", 3)).job_id

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        first = producer.enqueue(act, "a", 1).job_id
        journal.wait(1)
        second = producer.enqueue(act, customer="a", number=2).job_id
        third = asyncio.run(enqueue_async())
        producer.enqueue_many([act.call("b", 4)])
        journal.wait(2)
        gate.open()
        running.wait_outcomes(Done=2, Cancelled=2)
        producer.enqueue(act, "a", 5)
        running.wait_outcomes(Done=3, Cancelled=2)
        wait_duplicates(cluster, pipeline, {second: first, third: first})
        wait_all_committed(cluster, queue)
    assert sorted(journal.noted) == [("a", 1), ("a", 5), ("b", 4)]


def test_a_new_job_replaces_a_delayed_one_and_takes_its_time(cluster: ClusterSettings, namespace: str) -> None:
    """The one that is replaced ends soon, though it is due in an hour."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue, unique=Unique(by="customer", on_conflict="replace"))
    def act(customer: str, number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        first = producer.enqueue(act.with_options(delay=timedelta(hours=1)), "a", 1).job_id
        running.wait_outcomes(Delayed=1)
        second = producer.enqueue(act, "a", 2).job_id
        running.wait_outcomes(Delayed=2, Cancelled=1)
        wait_duplicates(cluster, pipeline, {first: second})
        producer.enqueue(act.with_options(delay=SECOND), "a", 3)
        running.wait_outcomes(Cancelled=2, Done=1)
    assert journal.noted == [3]


def test_the_last_is_kept_while_one_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Those before it end as its duplicates."""
    pipeline, queue = declare_queue(namespace)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, unique=Unique(by=lambda: "one", on_conflict="replace", while_=("waiting",)))
    def act(number: int) -> None:
        journal.note(number)
        if number == 1:
            gate.wait()

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act, 1)
        journal.wait(1)
        second, third, last = (producer.enqueue(act, number).job_id for number in (2, 3, 4))
        wait_until(lambda: running.worker.snapshot()[0].in_flight == 4)
        gate.open()
        running.wait_outcomes(Done=2, Cancelled=2)
        wait_duplicates(cluster, pipeline, {second: last, third: last})
    assert journal.noted == [1, 4]


def test_work_is_put_off_by_each_new_job(cluster: ClusterSettings, namespace: str) -> None:
    """The last one runs, once its time has come; another only if the worker stood still until then."""
    pipeline, queue = declare_queue(namespace)
    journal, wait = Journal(), 3 * SECOND

    @pipeline.job(queue, unique=Unique(by="customer", on_conflict="put_off", wait=wait))
    def act(customer: str, number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        running.wait_partitions(queue.partitions)
        enqueued_at_s = time.time()
        producer.enqueue_many([act.call("a", number) for number in range(4)])
        wait_until(lambda: 3 in journal.noted)
        running.wait_outcomes(Done=len(journal.noted), Cancelled=4 - len(journal.noted))
    assert journal.noted[-1] == 3
    assert all(run.at_s >= enqueued_at_s + wait.total_seconds() for run in journal.runs)


def test_in_a_period_one_runs_also_after_a_restart(cluster: ClusterSettings, namespace: str) -> None:
    """The next worker knows by the ledger who ran when."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue, unique=Unique(while_=(), within=timedelta(hours=1)))
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        first = producer.enqueue(act, 1).job_id
        with running_worker(pipeline, cluster) as running:
            running.wait_outcomes(Done=1)
        second = producer.enqueue(act, 1).job_id
        producer.enqueue(act, 2)
        with running_worker(pipeline, cluster) as running:
            running.wait_outcomes(Done=1, Cancelled=1)
            wait_duplicates(cluster, pipeline, {second: first})
    assert journal.noted == [1, 2]
