"""On a real broker: long jobs tell how far they are, learn when to stop, and stuck ones end the worker at worst."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from stoker.consumers import Snooze, WorkerSettings, current_job
from stoker.consumers.errors import TooManyStuck, WorkerCrashed
from stoker.consumers.worker import Worker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline
from support.kafka.commits import state_of
from support.scenes.watched_runners import hurry, resist
from support.scenes.worker import (
    Gate,
    Journal,
    RunningWorker,
    committed,
    create,
    declare_queue,
    ends,
    running_worker,
)
from support.sight.events import job_events
from support.waiting import wait_until

BEAT_S = 0.02


def impatient(cluster: ClusterSettings) -> ClusterSettings:
    """The same cluster, whose group takes a member for gone that has not polled for 3 s."""
    return ClusterSettings(
        bootstrap_servers=cluster.bootstrap_servers, options={**cluster.options, "max.poll.interval.ms": 3_000}
    )


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_long_job_that_heeds_should_stop_ends_at_a_shutdown_at_no_attempts_cost(
    cluster: ClusterSettings, namespace: str, kind: str
) -> None:
    """It outlasts poll interval (3 s) and session timeout (4 s), keeps its partition, and goes on elsewhere."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, pause, asked = Journal(), threading.Event(), threading.Event()

    def note() -> None:
        journal.note(current_job().attempt)

    if kind == "sync":

        @pipeline.job(queue, name="act", timeout=timedelta(hours=3), heartbeat=timedelta(seconds=5))
        def act() -> Snooze | None:
            note()
            while len(journal.runs) == 1:
                current_job().heartbeat()
                pause.wait(BEAT_S)
                if current_job().should_stop:
                    asked.set()
                    return Snooze(timedelta(0))
            return None

    else:

        @pipeline.job(queue, name="act", timeout=timedelta(hours=3), heartbeat=timedelta(seconds=5))
        async def act() -> Snooze | None:
            note()
            while len(journal.runs) == 1:
                current_job().heartbeat()
                await asyncio.sleep(BEAT_S)
                if current_job().should_stop:
                    asked.set()
                    return Snooze(timedelta(0))
            return None

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, impatient(cluster)) as first:
        producer.enqueue(act)
        journal.wait(1)
        pause.wait(6)
        assert (len(journal.runs), first.partitions, asked.is_set()) == (1, (0,), False)
        first.stop()
    assert asked.is_set()
    with running_worker(pipeline, cluster) as second:
        second.wait_outcomes(Done=1)
    assert journal.noted == [1, 1]


def test_a_job_is_to_stop_when_its_partition_moves(cluster: ClusterSettings, namespace: str) -> None:
    """So that the partition need not wait for its grace, and the next owner begins where the first one ended."""
    pipeline, queue = declare_queue(namespace, partitions=2)
    journal, pause, done = Journal(), threading.Event(), threading.Event()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def act(number: int) -> Snooze | None:
        journal.note(number)
        while not done.is_set():
            if current_job().should_stop:
                return Snooze(timedelta(0))
            pause.wait(BEAT_S)
        return None

    create(pipeline, cluster)
    with (
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster, revoke_grace=timedelta(seconds=60)) as first,
    ):
        receipts = [producer.enqueue(act, number) for number in range(6)]
        assert {receipt.partition for receipt in receipts} == {0, 1}
        journal.wait(6)
        with running_worker(pipeline, cluster) as second:
            second.wait_partitions(1)
            wait_until(lambda: second.worker.snapshot()[0].running, 60, "the moved jobs to go on there")
            done.set()
            wait_until(lambda: first.outcomes().get("Done", 0) + second.outcomes().get("Done", 0) == 6, 60, "all jobs")
            assert second.outcomes()["Done"] >= 1
    assert {run.attempt for run in journal.runs} == {1}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_progress_is_seen_in_the_snapshot_and_as_an_event(cluster: ClusterSettings, namespace: str, kind: str) -> None:
    """The first at once, however many follow; with done, total and note."""
    pipeline, queue = declare_queue(namespace)
    gate = Gate()

    def tell() -> None:
        current_job().progress(3, 10, "sending")
        for _ in range(1_000):
            current_job().progress(4, 10, "sending more")

    if kind == "sync":

        @pipeline.job(queue, name="act")
        def act() -> None:
            tell()
            gate.wait()

    else:

        @pipeline.job(queue, name="act")
        async def act() -> None:
            tell()
            while not gate.opened.is_set():
                await asyncio.sleep(BEAT_S)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        job_id = producer.enqueue(act).job_id
        wait_until(lambda: running.worker.snapshot()[0].progress, 60, "the progress")
        latest = wait_until(lambda: running.worker.snapshot()[0].progress.get(job_id), 60, "the job's progress")
        wait_until(lambda: _events(cluster, pipeline), 60, "its event")
        gate.open()
        running.wait_outcomes(Done=1)
    assert str(latest).endswith("(40 %), sending more")
    (event,) = _events(cluster, pipeline)
    assert (event["event"], event["job_id"], event["attempt"]) == ("progress", job_id, 1)
    assert event["detail"]["total"] == "10"


def _events(cluster: ClusterSettings, pipeline: Pipeline) -> list[dict[str, Any]]:
    return job_events(cluster, pipeline)


@pytest.mark.expected_errors("is stuck", "of queue 'work' failed")
def test_a_worker_whose_runners_are_all_stuck_ends_and_its_jobs_come_again(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor starts another; what was done is committed, what was stuck runs there with the same attempt."""
    hurry(monkeypatch)
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, let_go = Journal(), threading.Event()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note((number, current_job().attempt))

    @pipeline.job(queue, timeout=timedelta(seconds=0.2))
    def stand(number: int) -> None:
        journal.note((number, current_job().attempt))
        resist(let_go)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many([act.call(0), stand.call(1), stand.call(2)])
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings(concurrency=1)))
    wait_until(lambda: running.failure, 60, "the worker to end")
    with pytest.raises(WorkerCrashed) as crash:
        running.stop()
    assert isinstance(crash.value.__cause__, TooManyStuck)
    assert committed(cluster, queue) == {0: 1}
    left = state_of(cluster, queue)
    assert left is not None
    assert left.is_open, "so that jobs which bring down one worker after the other come to be suspected"
    let_go.set()
    with running_worker(pipeline, cluster) as second:
        second.wait_outcomes(Done=2)
    assert sorted(journal.noted) == [(0, 1), (1, 1), (1, 1), (2, 1), (2, 1)]


@pytest.mark.expected_errors("is stuck")
def test_a_job_that_was_stuck_and_ends_is_settled_once_and_its_key_goes_on(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is stuck, other keys flow past it in the thread that replaces the only one; its own waits, in order."""
    hurry(monkeypatch)
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, let_go = Journal(), threading.Event()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    @pipeline.job(queue, timeout=timedelta(seconds=0.2))
    def stand(number: int) -> None:
        resist(let_go)
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster, concurrency=1) as running:
        producer.enqueue(stand.with_options(key="slow"), 0)
        producer.enqueue_many(act.with_options(key="slow").call(number) for number in (1, 2))
        producer.enqueue_many(act.with_options(key=f"k{number}").call(number) for number in range(3, 20))
        journal.wait(17)
        assert running.worker.snapshot()[0].stuck == 1
        assert journal.noted == list(range(3, 20))
        let_go.set()
        running.wait_outcomes(Done=20)
        assert running.worker.snapshot()[0].stuck == 0
    assert journal.noted[17:] == [0, 1, 2]
    assert committed(cluster, queue) == ends(cluster, queue.topic, 1)
