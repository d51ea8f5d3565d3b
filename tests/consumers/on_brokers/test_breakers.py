"""On a real broker: an open breaker holds jobs in all workers and closes by itself; a dead guard stops a type."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from stoker.consumers import current_job
from stoker.operations.control.breaker_list import SeenBreaker, SeenGuard, seen_breakers, seen_guards
from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.producers.control.standing import read_given_orders, read_standing_orders, read_workers
from stoker.topology import Breaker, ClusterSettings, DeadGuard, Pipeline, RetryPolicy
from support.programs import isolated_jobs
from support.scenes.worker import (
    Journal,
    RunningWorker,
    create,
    declare_queue,
    read_topic,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until

SOON = Breaker(failures=3, open_for=timedelta(seconds=1), longest=timedelta(seconds=1))
WAIT = timedelta(seconds=60)


def seen(pipeline: Pipeline, cluster: ClusterSettings) -> SeenBreaker:
    """The first breaker, as `stoker breakers` shows it."""
    orders = read_standing_orders(pipeline, cluster)
    statuses = [one for one in read_workers(pipeline, cluster).statuses if one.status.state == "running"]
    return seen_breakers(pipeline, orders, [one.status for one in statuses], 0.0)[0]


@pytest.mark.expected_errors("failed, and attempt")
def test_jobs_wait_while_their_dependency_is_down_and_none_is_lost(cluster: ClusterSettings, namespace: str) -> None:
    """Two workers try it some times, at few attempts' cost; when it is up, all jobs run without anybody's help."""
    journal, is_up = Journal(), threading.Event()
    pipeline, queue = declare_queue(namespace, partitions=2)
    pipeline.dependency("stripe", SOON)

    @pipeline.job(queue, key="number", needs=["stripe"], retry=RetryPolicy(attempts=8))  # jobs in both partitions
    def charge(number: int) -> None:
        journal.note(("try", number))
        if not is_up.is_set():
            raise ConnectionError("refused")
        journal.note(("paid", number))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(charge.call(number) for number in range(300))
    with (
        running_worker(pipeline, cluster, concurrency=2, worker_id="one") as one,
        running_worker(pipeline, cluster, concurrency=2, worker_id="two") as two,
    ):
        wait_until(lambda: seen(pipeline, cluster).opening is not None, what="the breaker to open")
        for running in (one, two):
            wait_until(partial(_holds, running), what="jobs that wait in each worker")
        wait_until(lambda: (seen(pipeline, cluster).held or 0) > 100, what="the workers' reports")
        wait_until(lambda: (found := seen(pipeline, cluster).opening) is not None and found.trips > 1, what="a probe")
        tries = len(journal.runs)
        assert tries < 60, "jobs were tried that should wait"
        is_up.set()
        journal.wait(tries + 300)
        wait_until(lambda: journal.times().total() and sum(k[0] == "paid" for k in journal.noted) == 300, what="all")
        wait_until(lambda: seen(pipeline, cluster).opening is None, what="the breaker to be closed for all")
        wait_all_committed(cluster, queue)
    attempts = Counter(run.attempt for run in journal.runs if run.what[0] == "paid")
    assert attempts[1] > 240
    assert not read_topic(cluster, queue.dead_topic, 2)
    audited = [given.order for given in read_given_orders(pipeline, cluster)]
    assert {order.verb for order in audited} == {"open", "close"}
    assert all(order.operator in ("worker one", "worker two") for order in audited)


@pytest.mark.expected_errors("is paused for all workers", "is a dead letter", "failed, and attempt")
def test_a_dead_guard_really_stops_its_job_type(cluster: ClusterSettings, namespace: str) -> None:
    """No further job of the type begins, also in a worker that starts later, until an operator resumes it."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=2)

    @pipeline.job(queue, retry=RetryPolicy(attempts=1), dead_guard=DeadGuard(4, within=timedelta(minutes=5)))
    def charge(number: int) -> None:
        journal.note(("charge", number))
        if number < 500:
            raise ValueError("a bad release")

    @pipeline.job(queue)
    def mail(number: int) -> None:
        journal.note(("mail", number))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(charge.call(number) for number in range(200))
        with running_worker(pipeline, cluster, concurrency=1, worker_id="one") as running:
            wait_until(lambda: any(guard.pause for guard in _guards(pipeline, cluster)), what="the order")
            producer.enqueue_many(mail.call(number) for number in range(50))
            journal.wait_for(*[("mail", number) for number in range(50)])
            tried = sum(what == "charge" for what, _ in journal.noted)
            assert 5 <= tried <= 7, "the guard let more jobs begin"
        with running_worker(pipeline, cluster, worker_id="two") as running:
            producer.enqueue_many(mail.call(number) for number in range(50, 100))
            journal.wait_for(*[("mail", number) for number in range(100)])
            assert sum(what == "charge" for what, _ in journal.noted) == tried
            (order,) = [guard.pause for guard in _guards(pipeline, cluster) if guard.pause is not None]
            assert order.operator == "dead-guard of worker one"
            assert order.reason.startswith("5 dead letters within")
            assert [given.order.order_id for given in read_given_orders(pipeline, cluster)] == [order.order_id]
            (pause,) = running.worker.pauses()
            assert pause.job_type == "charge"
            producer.enqueue(charge, 500)
            with Control(pipeline, cluster) as control:
                control.cancel(job_type="charge", reason="a bad release").wait(WAIT)
                producer.enqueue(charge, 501)
                control.resume(job_type="charge").wait(WAIT)
            journal.wait_for(("charge", 501))
    assert sum(what == "charge" for what, _ in journal.noted) == tried + 1


def _holds(running: RunningWorker) -> bool:
    return "breaker" in {held.reason for held in running.worker.inspect()[0].held}


def _guards(pipeline: Pipeline, cluster: ClusterSettings) -> list[SeenGuard]:
    return seen_guards(pipeline, read_standing_orders(pipeline, cluster), 0.0)


@pytest.mark.expected_errors("failed, and attempt")
def test_a_block_in_a_child_counts_and_is_turned_away(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The jobs are snoozed, and run when the dependency is up; a child asks its worker at each block."""
    up, file = tmp_path / "up", tmp_path / "notes"
    pipeline, queue = declare_queue(namespace, partitions=1)
    pipeline.dependency("stripe", SOON)
    pay = pipeline.job(queue, isolation="process", retry=RetryPolicy(attempts=8))(isolated_jobs.pay_when_up)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(pay.call(str(up), str(file), number) for number in range(20))
    with running_worker(pipeline, cluster, isolated_concurrency=2) as running:
        wait_until(lambda: running.outcomes().get("Snoozed", 0) >= 10, what="jobs that are turned away")
        assert running.outcomes().get("Retried", 0) < 10
        up.touch()
        running.wait_outcomes(Done=20, within_s=60.0)


@pytest.mark.expected_errors("failed, and attempt")
def test_an_operator_opens_and_closes_a_breaker_by_hand(cluster: ClusterSettings, namespace: str) -> None:
    """Without an end no job probes; a job type's own breaker is another than its dependency's."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue, breaker=SOON, needs=["bank"])
    def charge(number: int) -> None:
        journal.note((number, current_job().attempt))

    create(pipeline, cluster)
    with Control(pipeline, cluster, operator="ann") as control, running_worker(pipeline, cluster) as running:
        assert control.open_breaker(job_type="charge", reason="their maintenance").wait(WAIT).is_taken_by_all
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(charge, 1)
        wait_until(lambda: running.worker.inspect()[0].held, what="the job to wait")
        (held,) = running.worker.inspect()[0].held
        assert (held.reason, held.count) == ("breaker", 1)
        control.open_breaker(dependency="bank").wait(WAIT)
        control.close_breaker(job_type="charge").wait(WAIT)
        wait_until(lambda: "bank" in str(running.worker.inspect()[0].held), what="the job to wait for the other one")
        assert journal.runs == []
        control.close_breaker(dependency="bank")
        journal.wait_for((1, 1))
