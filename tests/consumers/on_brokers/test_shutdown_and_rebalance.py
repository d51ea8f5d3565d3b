"""On a real broker: shutdown and rebalance lose nothing, run nothing twice without need, and cost no attempt (P8)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from stoker.consumers import Discard, Snooze, WorkerShutdown, current_job
from stoker.consumers.assembly.readers import ReaderParts
from stoker.consumers.rebalance.rebalance import Rebalance
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import (
    Gate,
    Journal,
    committed,
    create,
    declare_queue,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until


def test_a_job_that_ends_within_the_grace_is_done_and_committed(cluster: ClusterSettings, namespace: str) -> None:
    """What runs may end; what has not begun is left to the next worker, and runs there once."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, key=lambda number: "k")
    def act(number: int) -> None:
        if number == 1:
            gate.wait()
        journal.note((number, current_job().attempt))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(5))
    with running_worker(pipeline, cluster, grace=timedelta(seconds=20)) as running:
        wait_until(lambda: gate.waiting, what="the job to stand")
        running.worker.stop()
        wait_until(lambda: running.worker.snapshot()[0].in_flight == 1, what="the others to be taken back")
        gate.open()
        running.stop()
    assert journal.noted == [(0, 1), (1, 1)]
    assert committed(cluster, queue) == {0: 2}
    with running_worker(pipeline, cluster):
        journal.wait(5)
    assert journal.noted == [(number, 1) for number in range(5)]


def wait_opened(gate: Gate, turn_s: float) -> None:
    """Wait in Python code, for so long at a time in C code."""
    while not gate.opened.wait(turn_s):
        pass


@pytest.mark.parametrize("kind", ["sync", "blocked", "async"])
def test_a_job_beyond_the_grace_comes_again_with_the_same_attempt(
    cluster: ClusterSettings, namespace: str, kind: str
) -> None:
    """The offset stays below it; a job is interrupted, or left behind where it is in C code; no attempt is counted."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate, interrupted = Journal(), Gate(), list[int]()

    if kind != "async":

        @pipeline.job(queue, name="act")
        def act(number: int) -> None:
            journal.note((number, current_job().attempt))
            if number == 0 and len(journal.runs) <= 2:
                try:
                    wait_opened(gate, 60.0 if kind == "blocked" else 0.01)
                except WorkerShutdown:
                    interrupted.append(number)
                    raise

    else:

        @pipeline.job(queue, name="act")
        async def act(number: int) -> None:
            journal.note((number, current_job().attempt))
            if number == 0 and len(journal.runs) <= 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    interrupted.append(number)
                    raise

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(2))
    with running_worker(pipeline, cluster, grace=timedelta(seconds=0.3)) as running:
        journal.wait(2)
        running.wait_outcomes(Done=1)
        running.stop()
    assert committed(cluster, queue).get(0, 0) == 0
    assert interrupted == ([] if kind == "blocked" else [0])
    with running_worker(pipeline, cluster):
        journal.wait(3)
        wait_all_committed(cluster, queue)
    gate.open()
    assert journal.noted[2] == (0, 1)
    assert len(journal.noted) == 3, "the job that was done is skipped by the ledger"


def test_what_a_sync_job_answers_to_its_interrupt_is_kept(cluster: ClusterSettings, namespace: str) -> None:
    """Also where it takes a moment to clean up: what returns is done, `Discard` and `Snooze` end a run as ever."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, never = Journal(), threading.Event()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def act(number: int) -> None:
        if journal.note((number, current_job().attempt)).attempt == 1 and len(journal.runs) <= 3:
            try:
                while not never.wait(0.01):
                    pass
            except WorkerShutdown:
                never.wait(0.3)
                if number == 1:
                    raise Discard("cleaned up") from None
                if number == 2:
                    raise Snooze(timedelta(0)) from None

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(3))
    with running_worker(pipeline, cluster, grace=timedelta(seconds=0.3)) as running:
        journal.wait(3)
        running.stop()
        assert running.outcomes() == {"Done": 1, "Cancelled": 1, "Snoozed": 1}
    assert committed(cluster, queue) == {0: 3}
    with running_worker(pipeline, cluster) as later:
        later.wait_outcomes(Done=1)
    assert journal.noted[3:] == [(2, 1)], "only the one that was snoozed runs again"


def test_stopping_at_once_waits_for_no_job(cluster: ClusterSettings, namespace: str) -> None:
    """As a second SIGTERM does."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    gate = Gate()

    @pipeline.job(queue)
    def act() -> None:
        gate.wait()

    create(pipeline, cluster)
    with (
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster, grace=timedelta(minutes=5)) as running,
    ):
        producer.enqueue(act)
        wait_until(lambda: gate.waiting, 60, "the job to stand")
        running.worker.stop()
        running.stop(at_once=True, within_s=60)
    gate.open()


def test_a_worker_that_joins_and_leaves_under_load_loses_nothing_and_doubles_nothing(
    cluster: ClusterSettings, namespace: str
) -> None:
    """3,000 short jobs while partitions move there and back: each runs exactly once, on both workers."""
    pipeline, queue = declare_queue(namespace, partitions=6)
    journal, pace = Journal(), threading.Event()

    @pipeline.job(queue, key=lambda number: f"k{number}")  # without keys, a batch may go to one partition alone
    def act(number: int) -> None:
        pace.wait(0.002)
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster, concurrency=4) as first:
        first.wait_partitions(6)
        producer.enqueue_many(act.call(number) for number in range(1_500))
        journal.wait(200)
        with running_worker(pipeline, cluster, concurrency=4) as second:
            second.wait_partitions(3)
            producer.enqueue_many(act.call(number) for number in range(1_500, 3_000))
            second.wait_outcomes(Done=200)
            second.stop()
            assert "Interrupted" not in second.outcomes()
        first.wait_partitions(6)
        wait_until(lambda: len(set(journal.noted)) == 3_000, 60, "all jobs")
        wait_all_committed(cluster, queue)
    assert set(journal.times().values()) == {1}


def test_a_job_that_runs_when_its_partition_is_taken_ends_here_and_runs_once(
    cluster: ClusterSettings, namespace: str
) -> None:
    """The partition is given away when the job has ended and is committed, within the grace for that."""
    pipeline, queue = declare_queue(namespace, partitions=2)
    journal, gate, too_early = Journal(), Gate(), threading.Event()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def act(number: int) -> None:
        journal.note(number)
        gate.wait()

    create(pipeline, cluster)
    with (
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster, revoke_grace=timedelta(seconds=20)) as first,
    ):
        receipts = [producer.enqueue(act, number) for number in range(6)]
        assert {receipt.partition for receipt in receipts} == {0, 1}
        journal.wait(6)
        with running_worker(pipeline, cluster) as second:
            too_early.wait(2)  # time in which a partition given away too early would run its job again
            assert second.partitions == ()
            gate.open()
            second.wait_partitions(1)
            wait_all_committed(cluster, queue)
            first.wait_outcomes(Done=6)
    assert set(journal.times().values()) == {1}


def test_delayed_jobs_move_with_their_partition(cluster: ClusterSettings, namespace: str) -> None:
    """A retry that one worker held in memory is run by the one that gets its partition before its time, and once."""
    pipeline, queue = declare_queue(namespace, partitions=2, tiers=(timedelta(seconds=8),))
    journal = Journal()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def act(number: int) -> None:
        if journal.note(number).attempt == 1:
            raise ConnectionError

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as first:
        producer.enqueue_many(act.call(number) for number in range(20))
        first.wait_outcomes(Retried=20)
        with running_worker(pipeline, cluster) as second:
            second.wait_partitions(1)
            journal.wait(40)
            second.wait_outcomes(Done=1)
            first.wait_outcomes(Done=1)
    assert set(journal.times().values()) == {2}


def test_a_job_longer_than_the_poll_interval_keeps_its_partition(cluster: ClusterSettings, namespace: str) -> None:
    """Polling never waits for jobs: with an interval of 3 s a job of 5 s is not given to the other worker (P7)."""
    pipeline, queue = declare_queue(namespace, partitions=2)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def act(number: int) -> None:
        journal.note(number)
        gate.opened.wait(5)

    impatient = ClusterSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        options={**cluster.options, "max.poll.interval.ms": 3_000},
    )
    create(pipeline, cluster)
    with running_worker(pipeline, impatient) as first, running_worker(pipeline, impatient) as second:
        first.wait_partitions(1)
        second.wait_partitions(1)
        with Producer(pipeline, cluster) as producer:
            producer.enqueue_many(act.call(number) for number in range(4))
        wait_until(lambda: first.outcomes().get("Done", 0) + second.outcomes().get("Done", 0) == 4, 60, "four jobs")
        assert len(first.partitions) == len(second.partitions) == 1
        wait_all_committed(cluster, queue)
    assert set(journal.times().values()) == {1}


@pytest.mark.expected_errors("could not commit for the last time")
def test_a_worker_that_cannot_commit_for_the_last_time_says_so_and_disconnects(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it cannot do is in its log, and neither its membership nor another reader stays behind."""
    pipeline, _ = declare_queue(namespace, partitions=2)
    create(pipeline, cluster)
    closed = list[str]()
    close_readers = ReaderParts.close

    def refuse(*_args: object) -> None:
        raise RuntimeError("no")

    def note(readers: ReaderParts) -> None:
        closed.append("readers")
        close_readers(readers)

    monkeypatch.setattr(Rebalance, "commit_last", refuse)
    monkeypatch.setattr(ReaderParts, "close", note)
    with running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        member = running.worker._parts[0].worker._partitions._member
    assert "could not commit for the last time" in caplog.text
    assert closed == ["readers"]
    with pytest.raises(RuntimeError, match="Consumer closed"):
        member.consumer.poll(0)
