"""On a real broker: jobs that orders cancel do not run, or end; an order is forgotten once its job has ended."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stoker.consumers.machine import resident_bytes
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.producers.control import Control, OrderReceipt, OrderRefused, OrderUnconfirmed
from stoker.producers.control.standing import read_given_orders, read_standing_orders
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue, RetryPolicy
from stoker.topology.cluster.settings import ClusterUnreachable
from support.programs import isolated_jobs
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
    return running.worker._orders.cancels


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
        began_at_s = time.monotonic()
        receipt = control.cancel(*job_ids)
        answers = receipt.wait(WAIT)
        took_s = time.monotonic() - began_at_s
        assert answers.is_taken_by_all
        assert receipt.count == count
        assert len(cancels_of(running)) == count
        assert took_s < 60
        producer.enqueue_many(mail.with_options(job_id=job_id).call(1) for job_id in job_ids[:2_000])
        running.wait_outcomes(Cancelled=2_000)
        wait_until(lambda: len(cancels_of(running)) == count - 2_000, what="those that have ended to be forgotten")
    assert journal.noted == []


def test_jobs_that_wait_end_soon_wherever_they_wait(cluster: ClusterSettings, namespace: str) -> None:
    """Behind their key, until tomorrow, for a retry in an hour, or at a pause: each ends before its time."""
    journal, gate = Journal(), Gate()
    pipeline, queue = declare_queue(namespace, partitions=1, tiers=(timedelta(hours=1),))

    @pipeline.job(queue, retry=RetryPolicy(attempts=3))
    def mail(kind: str) -> None:
        journal.note(kind)
        if kind == "first":
            gate.wait()
        if kind == "fails":
            raise ValueError("once")

    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        producer.enqueue(mail.with_options(key="k"), "first")
        journal.wait_for("first")
        producer.enqueue(mail.with_options(key="k", job_id="behind"), "behind")
        for job_id in ("delayed", "stays"):
            producer.enqueue(mail.with_options(job_id=job_id, delay=timedelta(days=1)), "delayed")
        producer.enqueue(mail.with_options(job_id="retries"), "fails")
        running.wait_outcomes(Retried=1)
        control.pause(queue="work", key="paused").wait(WAIT)
        producer.enqueue(mail.with_options(key="paused", job_id="paused"), "paused")
        wait_until(lambda: running.worker.inspect()[0].held, what="the job at the pause")
        wait_until(lambda: running.worker.inspect()[0].delayed == 3, what="the delayed jobs")
        assert control.cancel("behind", "delayed", "retries", "paused").wait(WAIT).is_taken_by_all
        running.wait_outcomes(Cancelled=3)
        gate.open()
        running.wait_outcomes(Cancelled=4, Done=1)
        wait_until(lambda: running.worker.inspect()[0].delayed == 1, what="the cancelled ones to be forgotten")
        wait_until(lambda: not cancels_of(running).stands, what="the orders to be forgotten")
    assert journal.times() == {"first": 1, "fails": 1}


async def sleep_long(seconds: float) -> None:
    """A job that awaits."""
    await asyncio.sleep(seconds)


def sleep_in_pieces(seconds: float) -> None:
    """A job in Python code."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(0.01)


RUNNING = [
    pytest.param(sleep_in_pieces, None, id="thread"),
    pytest.param(sleep_long, None, id="async"),
    pytest.param(isolated_jobs.sum_in_c, None, id="C code in a thread"),
    pytest.param(isolated_jobs.sum_in_c, "process", id="C code in a child"),
    pytest.param(isolated_jobs.hash_in_c, "process", id="hashing in a child"),
    pytest.param(isolated_jobs.match_in_c, "process", id="one busy call in a child"),
    pytest.param(isolated_jobs.sleep_in_c, "process", id="one blocking call in a child"),
]


@pytest.mark.parametrize(("handler", "isolation"), RUNNING)
def test_a_job_that_runs_is_interrupted_by_an_order(
    cluster: ClusterSettings, namespace: str, handler: Callable[..., Any], isolation: Any
) -> None:
    """Long before its end; it costs no attempt."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    job = pipeline.job(queue, name="act", isolation=isolation)(handler)
    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        producer.enqueue(job.with_options(job_id="long"), 300.0)
        wait_until(lambda: running.worker.snapshot()[0].running == 1, 60, "the job to run")
        assert control.cancel("long").wait(WAIT).is_taken_by_all
        running.wait_outcomes(Cancelled=1)
        wait_until(lambda: not read_standing_orders(pipeline, cluster), what="the order to be forgotten")


def test_a_filter_cancels_what_was_enqueued_before_the_order(cluster: ClusterSettings, namespace: str) -> None:
    """Not what comes later; the one order stands for all."""
    journal = Journal()
    pipeline, _, mail = declare(namespace, journal)
    create(pipeline, cluster)
    with Control(pipeline, cluster) as control, Producer(pipeline, cluster) as producer:
        producer.enqueue_many(mail.call(number) for number in range(1, 501))
        receipt = control.cancel(job_type="mail", reason="wrong price")
        producer.enqueue(mail, 501)
        with running_worker(pipeline, cluster) as running:
            running.wait_outcomes(Cancelled=500, Done=1)
        assert [order.order_id for order in read_standing_orders(pipeline, cluster)] == [receipt.order_id]
        assert control.uncancel(order_id=receipt.order_id).wait(WAIT).is_taken_by_all
        assert read_standing_orders(pipeline, cluster) == []
    assert journal.noted == [501]


def test_a_block_that_discards_ends_jobs_until_it_is_lifted(cluster: ClusterSettings, namespace: str) -> None:
    """Those that wait for an earlier block of the same jobs, those that run, and those that come."""
    journal, gate = Journal(), Gate()
    pipeline, _, mail = declare(namespace, journal, gate)
    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        control.block(job_type="mail", reason="wrong price").wait(WAIT)
        producer.enqueue(mail, 1)
        wait_until(lambda: running.worker.inspect()[0].held, what="the job at the gate")
        control.block(job_type="mail", discard=True, reason="not wanted").wait(WAIT)
        producer.enqueue(mail, 2)
        running.wait_outcomes(Cancelled=2)
        control.unblock(job_type="mail").wait(WAIT)
        producer.enqueue(mail, 3)
        running.wait_outcomes(Done=1)
    assert journal.noted == [3]


def test_a_lifted_cancel_lets_the_job_run(cluster: ClusterSettings, namespace: str) -> None:
    """Before it has come."""
    journal = Journal()
    pipeline, _, mail = declare(namespace, journal)
    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        assert control.cancel("a", "b").wait(WAIT).is_taken_by_all
        assert control.uncancel("b").wait(WAIT).is_taken_by_all
        for job_id, number in (("a", 1), ("b", 2)):
            producer.enqueue(mail.with_options(job_id=job_id), number)
        running.wait_outcomes(Cancelled=1, Done=1)
    assert journal.noted == [2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "name the jobs by their ids, or by a filter"),
        ({"job_type": "mail"}, "needs a reason"),
        ({"older_than": timedelta(hours=-1), "reason": "x"}, "an age is positive"),
        ({"older_than": datetime(2013, 1, 1), "reason": "x"}, "no time zone"),  # noqa: DTZ001  # which is the point
    ],
    ids=str,
)
def test_cancels_that_make_no_sense_are_refused(namespace: str, words: dict[str, Any], said: str) -> None:
    """Before a connection is opened."""
    pipeline, _, _ = declare(namespace, Journal())
    control = Control(pipeline, ClusterSettings(bootstrap_servers="localhost:1"))
    with pytest.raises(OrderRefused, match=said):
        control.cancel(**words)


def test_ids_and_filters_are_not_named_together(namespace: str) -> None:
    """Nor is an empty id."""
    pipeline, _, _ = declare(namespace, Journal())
    control = Control(pipeline, ClusterSettings(bootstrap_servers="localhost:1"))
    with pytest.raises(OrderRefused, match="by their ids, or by a filter"):
        control.cancel("a", job_type="mail")
    with pytest.raises(OrderRefused, match="id is empty"):
        control.cancel("a", "")
    with pytest.raises(OrderRefused, match="or the order that has cancelled them"):
        control.uncancel()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_thousand_cancels_stand_in_bounded_memory(cluster: ClusterSettings, namespace: str) -> None:
    """A worker that starts takes them before its first job, within a minute."""
    journal, count = Journal(), 100_000
    pipeline, _, mail = declare(namespace, journal)
    create(pipeline, cluster)
    began_at_s = time.monotonic()
    with Control(pipeline, cluster) as control:
        control.cancel(*(f"order-of-a-customer-{number}" for number in range(count)))
    ordered_s = time.monotonic() - began_at_s
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(
            mail.with_options(job_id=f"order-of-a-customer-{number}").call(number) for number in range(20_000)
        )
        producer.enqueue(mail, -1)
    before_bytes, began_at_s = resident_bytes(os.getpid()) or 0, time.monotonic()
    with running_worker(pipeline, cluster) as running:
        wait_until(lambda: len(cancels_of(running)) > 0.7 * count, 120, "the cancels")
        taken_s = time.monotonic() - began_at_s
        taken_bytes = (resident_bytes(os.getpid()) or 0) - before_bytes
        running.wait_outcomes(Cancelled=20_000, Done=1)
        ended_at_s = time.monotonic() - began_at_s
        wait_until(lambda: len(cancels_of(running)) == count - 20_000, 120, "those that have ended to be forgotten")
        forgotten_s = time.monotonic() - began_at_s
    print(f"{ordered_s=:.1f} {taken_s=:.1f} {taken_bytes=:,} {ended_at_s=:.1f} {forgotten_s=:.1f}")
    assert journal.noted == [-1]
    assert taken_s < 60
    assert taken_bytes < 40_000_000


def test_in_strict_order_the_next_of_a_key_goes_on_when_the_one_before_is_cancelled(
    cluster: ClusterSettings, namespace: str
) -> None:
    """That one waits for its retry in an hour."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=1, tiers=(timedelta(hours=1),), ordering="strict")

    @pipeline.job(queue, retry=RetryPolicy(attempts=3))
    def mail(kind: str) -> None:
        journal.note(kind)
        if kind == "fails":
            raise ValueError("once")

    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster) as running,
    ):
        producer.enqueue(mail.with_options(key="k", job_id="fails"), "fails")
        producer.enqueue(mail.with_options(key="k", job_id="skipped"), "skipped")
        producer.enqueue(mail.with_options(key="k"), "next")
        running.wait_outcomes(Retried=1)
        control.cancel("fails", "skipped").wait(WAIT)
        running.wait_outcomes(Cancelled=2, Done=1)
    assert journal.noted == ["fails", "next"]


@pytest.mark.expected_errors("the brokers", "lost Kafka")
def test_an_order_that_is_given_while_the_brokers_restart_holds(broker: EmbeddedBroker, namespace: str) -> None:
    """Confirmed, or given again; nothing of what it means runs, all else does."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    journal = Journal()
    pipeline, queue, mail = declare(namespace, journal)
    create(pipeline, cluster)
    wanted = [f"job-{number}" for number in range(1, 1_000)]
    with Control(pipeline, cluster) as control, running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        assert control.cancel("first").wait(WAIT).is_taken_by_all
        broker.stop()
        starting = threading.Thread(target=broker.start)
        starting.start()
        try:
            receipt = give_until_confirmed(control, wanted)
        finally:
            starting.join()
        with Producer(pipeline, cluster) as producer:
            calls = [mail.with_options(job_id=job_id).call(1) for job_id in ("first", *wanted)]
            receipt.wait(WAIT)
            producer.enqueue_many([*calls, mail.call(2)])
        running.wait_outcomes(Cancelled=1_000, Done=1)
        wait_until(lambda: not cancels_of(running).stands, 90, "the orders to be forgotten")
        wait_all_committed(cluster, queue)
    assert journal.noted == [2]


def give_until_confirmed(control: Control, job_ids: list[str]) -> OrderReceipt:
    """As the message of the error says it."""
    while True:
        try:
            return control.cancel(*job_ids)
        except (OrderUnconfirmed, ClusterUnreachable):
            time.sleep(0.5)
