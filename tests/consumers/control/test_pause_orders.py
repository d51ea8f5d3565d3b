"""On a real broker: what was ordered through control holds in each worker, those that start later included."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from stoker.consumers import current_job
from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.topology import ClusterSettings, Pipeline, Queue
from support.scenes.worker import Journal, create, declare_queue, running_worker
from support.waiting import wait_until

IN_TIME_S = 60.0


def declare(namespace: str, journal: Journal) -> tuple[Pipeline, Queue]:
    """Two types of jobs on one queue, with keys."""
    pipeline, queue = declare_queue(namespace, partitions=2)

    @pipeline.job(queue, key="key")
    def mail(number: int, key: str) -> None:
        journal.note(("mail", number, current_job().attempt))

    @pipeline.job(queue, key="key")
    def call(number: int, key: str) -> None:
        journal.note(("call", number, current_job().attempt))

    return pipeline, queue


def test_a_pause_is_answered_holds_after_a_restart_and_ends_with_resume(
    cluster: ClusterSettings, namespace: str
) -> None:
    """A worker that starts after the order takes it before its first job; no attempt is lost."""
    journal = Journal()
    pipeline, _ = declare(namespace, journal)
    create(pipeline, cluster)
    mail, call = pipeline.job_types["mail"], pipeline.job_types["call"]
    with Control(pipeline, cluster, operator="ann") as control, Producer(pipeline, cluster) as producer:
        with running_worker(pipeline, cluster) as running:
            running.wait_partitions(2)
            answers = control.pause(job_type="mail", reason="the partner is down").wait(timedelta(seconds=IN_TIME_S))
            assert [answer.worker for answer in answers.taken] == [running.worker.settings.worker_id]
            assert answers.is_taken_by_all
            producer.enqueue_many(mail.call(number, f"m{number}") for number in range(10))
            producer.enqueue(call, 0, "c")
            journal.wait_for(("call", 0, 1))
            wait_until(lambda: sum(found.count for found in running.worker.inspect()[0].held) == 10, what="mails")
            (held,) = running.worker.inspect()[0].held
            assert held.reason == "paused"
            assert held.detail == "`stoker control resume --type mail` (by ann: the partner is down)"
        with running_worker(pipeline, cluster) as running:
            producer.enqueue(call, 1, "c")
            journal.wait_for(("call", 1, 1))
            wait_until(lambda: sum(found.count for found in running.worker.inspect()[0].held) == 10, what="mails")
            assert not [said for said in journal.noted if said[0] == "mail"]
            control.resume(job_type="mail")
            journal.wait_for(*[("mail", number, 1) for number in range(10)])
            assert running.worker.pauses() == []


def test_a_pause_ends_at_its_time(cluster: ClusterSettings, namespace: str) -> None:
    """Without anybody who lifts it; one that is over holds nothing in a worker that starts."""
    journal = Journal()
    pipeline, _ = declare(namespace, journal)
    create(pipeline, cluster)
    call = pipeline.job_types["call"]
    until = datetime.now(UTC) + timedelta(seconds=10)  # the worker is to see it stand
    with Control(pipeline, cluster) as control, Producer(pipeline, cluster) as producer:
        control.pause(queue="work", until=until)
        producer.enqueue(call, 0, "c")
        with running_worker(pipeline, cluster) as running:
            wait_until(running.worker.pauses, what="the order")
            journal.wait_for(("call", 0, 1))
            assert datetime.now(UTC) >= until
            wait_until(lambda: not running.worker.pauses(), what="its end")
    with running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        assert running.worker.pauses() == []


def test_an_order_is_taken_within_a_second(cluster: ClusterSettings, namespace: str) -> None:
    """By two workers; measured from the call to the last answer."""
    pipeline, _ = declare(namespace, Journal())
    create(pipeline, cluster)
    with (
        Control(pipeline, cluster) as control,
        running_worker(pipeline, cluster, worker_id="one") as one,
        running_worker(pipeline, cluster, worker_id="two") as two,
    ):
        one.wait_partitions(1)
        two.wait_partitions(1)
        control.resume(queue="work")  # makes the connections
        took = []
        for _ in range(10):
            asked_at_s = time.monotonic()
            answers = control.pause(queue="work").wait()
            took.append(time.monotonic() - asked_at_s)
            assert answers.is_taken_by_all
            assert {answer.worker for answer in answers.answers} == {"one", "two"}
        print(sorted(took))
        assert sorted(took)[len(took) // 2] < 1.0
