"""On a real broker: workers fire schedules, by the schedule's own rules, and a fault of one stops no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from stoker.consumers import current_job
from stoker.producers.schedules import Schedules
from stoker.topology import ClusterSettings, JobCall, Pipeline, Queue, cron, every
from support.scenes.worker import Gate, Journal, create, declare_queue, headers_of, read_topic, running_worker
from support.waiting import wait_until

SECOND = every(timedelta(seconds=1))


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Holds jobs; opened at the end in any case."""
    made = Gate()
    yield made
    made.open()


def put(pipeline: Pipeline, cluster: ClusterSettings) -> None:
    """Topics and schedules as declared."""
    create(pipeline, cluster)
    with Schedules(pipeline, cluster) as schedules:
        schedules.apply_declared()


def enqueued(cluster: ClusterSettings, queue: Queue, schedule: str) -> list[datetime]:
    """The instants for which jobs of a schedule are on the main topic."""
    found = [headers_of(record) for record in read_topic(cluster, queue.topic, queue.partitions)]
    return sorted(
        datetime.fromisoformat(headers["stoker-scheduled-for"].decode())
        for headers in found
        if headers.get("stoker-schedule") == schedule.encode()
    )


@pytest.mark.expected_errors("schedule 'broken' could not be fired")
def test_jobs_know_their_schedule_and_a_broken_one_stops_no_other(cluster: ClusterSettings, namespace: str) -> None:
    """Made by a call, by a function of the instant, and by one that raises; a second schedule is made while it runs."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(what: str) -> None:
        job = current_job()
        journal.note((what, job.schedule, job.scheduled_for))

    def fail(_at: datetime) -> JobCall:
        raise ValueError("no data")

    pipeline.schedule("plain", SECOND, act.call("plain"))
    pipeline.schedule("made", SECOND, lambda at: [act.call(f"{at:%S}"), act.call("second")], queue=queue)
    pipeline.schedule("broken", SECOND, fail, queue=queue)
    put(pipeline, cluster)
    with running_worker(pipeline, cluster), Schedules(pipeline, cluster) as schedules:
        wait_until(lambda: {"plain", "made"} <= {name for _, name, _ in journal.noted})
        schedules.add("late", cron("* * * * * *"), act.call("late"))
        wait_until(lambda: "late" in {name for _, name, _ in journal.noted})
        assert schedules.show("late").fired_by is not None
    made = [(what, at) for what, name, at in journal.noted if name == "made"]
    assert all(at.microsecond == 0 and what in {f"{at:%S}", "second"} for what, at in made)
    assert all(run.at_s >= run.what[2].timestamp() for run in journal.runs)
    assert "broken" not in {name for _, name, _ in journal.noted}


def test_an_overlap_is_left_out_or_waits(cluster: ClusterSettings, namespace: str, gate: Gate) -> None:
    """While the first job of each runs: "skip" enqueues no other, "wait" enqueues them and runs one at a time.

    The first job of "skip" fails, and has ended after its retry alone.
    """
    pipeline, queue = declare_queue(namespace, tiers=(timedelta(seconds=2),))
    journal = Journal()
    running: list[str] = []
    unended: set[str] = set()
    most_unended: list[int] = []
    most = threading.Semaphore(1)

    @pipeline.job(queue)
    def act(what: str) -> None:
        if what == "skip":
            unended.add(current_job().job_id)
            most_unended.append(len(unended))
        running.append(what)
        if what == "wait":
            assert most.acquire(blocking=False), "two run at once"
        gate.wait()
        if what == "wait":
            most.release()
        elif len(unended) == running.count("skip"):
            raise ValueError("fails at first")
        else:
            unended.clear()
        journal.note(what)

    pipeline.schedule("skip", SECOND, act.call("skip"), overlap="skip")
    pipeline.schedule("wait", SECOND, act.call("wait"), overlap="wait")
    put(pipeline, cluster)
    with running_worker(pipeline, cluster):
        wait_until(lambda: set(running) == {"skip", "wait"})
        wait_until(lambda: len(enqueued(cluster, queue, "wait")) >= 4)
        assert len(enqueued(cluster, queue, "skip")) == 1
        assert sorted(running) == ["skip", "wait"]
        with Schedules(pipeline, cluster) as schedules:
            last = schedules.show("skip").last
        assert last is not None
        assert last.outcome == "overlap"
        gate.open()
        wait_until(lambda: len(enqueued(cluster, queue, "skip")) >= 2)
        wait_until(lambda: journal.times()["wait"] >= 4)
        wait_until(lambda: journal.times()["skip"] >= 2)
    assert max(most_unended) == 1


def test_workers_that_start_later_know_what_was_missed(cluster: ClusterSettings, namespace: str) -> None:
    """What was fired last is on the topic: of four seconds without workers, the last instants are made up for."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act() -> None:
        """Nothing."""

    pipeline.schedule("s", SECOND, act.call(), missed="all", missed_limit=2, grace=timedelta(seconds=1))
    put(pipeline, cluster)
    with running_worker(pipeline, cluster):
        wait_until(lambda: len(enqueued(cluster, queue, "s")) >= 2)
    before = enqueued(cluster, queue, "s")[-1]
    wait_until(lambda: datetime.now(UTC) > before + timedelta(seconds=5), 60)
    back_at = datetime.now(UTC)
    with running_worker(pipeline, cluster):
        wait_until(lambda: any(at > back_at for at in enqueued(cluster, queue, "s")))
    found = enqueued(cluster, queue, "s")
    assert len(found) == len(set(found))
    missed = [at for at in found if before < at <= back_at - timedelta(seconds=1)]
    assert len(missed) <= 2


def test_a_pause_of_the_queue_holds_the_jobs_and_not_the_schedule(cluster: ClusterSettings, namespace: str) -> None:
    """They are enqueued and wait, as all jobs of the queue do."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act() -> None:
        journal.note(1)

    pipeline.schedule("s", SECOND, act.call())
    put(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        running.worker.pause("work")
        wait_until(lambda: len(enqueued(cluster, queue, "s")) >= 2)
        time.sleep(0.1)
        ran = len(journal.runs)
        running.worker.resume("work")
        wait_until(lambda: len(journal.runs) >= ran + 2)
