"""A worker waits for nobody without a bound: not for brokers as it leaves, not for jobs as a partition moves away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from confluent_kafka import Message, TopicPartition

from stoker.consumers.assembly.queue_context import QueueContext
from stoker.consumers.assembly.queue_parts import QueueParts, make_queue
from stoker.consumers.kafka.clients import longest_callback_s
from stoker.consumers.poll_loop import shutdown as module
from stoker.consumers.poll_loop.poll_timeout import POLL_TIMEOUT_S, SHORT_POLL_TIMEOUT_S
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runners import ThreadRunners
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.topology import ClusterSettings
from support.scenes.deliveries import EmptyStore, declare, plain_record
from support.waiting import wait_until

NOBODY = "127.0.0.1:1"


@pytest.fixture
def parts() -> Iterator[QueueParts]:
    """A worker that nobody answers; the group detects that after 0.6 s without a poll."""
    delivery = declare()
    cluster = ClusterSettings(bootstrap_servers=NOBODY, options={"max.poll.interval.ms": 600})
    made = make_queue(
        QueueContext(
            pipeline=delivery.pipeline,
            queue=delivery.queue,
            cluster=cluster,
            store=EmptyStore(),
            settings=WorkerSettings(),
        )
    )
    yield made
    made.group.member.consumer.close()
    made.group.readers.side_reader.close()


def test_a_worker_leaves_without_brokers_that_do_not_answer(
    parts: QueueParts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For 10 s at the most; nothing is lost without it, and a supervisor waits for the process."""
    answered = threading.Event()
    assert module.LEAVE_S == 10
    monkeypatch.setattr(module, "LEAVE_S", 0.2)
    shutdown = parts.worker._shutdown
    monkeypatch.setattr(shutdown, "_leave", lambda _running: answered.wait())
    began_at_s = time.monotonic()
    shutdown._leave_in_time([])
    assert time.monotonic() - began_at_s < 30
    answered.set()
    assert "the brokers did not answer within 0.2 s" in caplog.text


@pytest.mark.parametrize(("settle_within_s", "least_s", "most_s"), [(10.0, 1.0, 5.0), (0.0, 0.0, 0.9)])
def test_a_sync_job_that_resists_its_interrupt_holds_up_a_shutdown_for_a_second(
    parts: QueueParts, settle_within_s: float, least_s: float, most_s: float
) -> None:
    """And not at all a shutdown at once, which settles nothing any more."""
    begun, let_go = threading.Event(), threading.Event()

    def resist(_record: Record, _slot: Slot) -> None:
        begun.set()
        let_go.wait(60)

    jobs, threads = parts.running.threads, parts.running.runners.of(ThreadRunners)
    assert threads is not None
    threads._run_one = resist
    jobs.start()
    threads.make_ready([plain_record(0)])
    assert begun.wait(60)
    began_at_s = time.monotonic()
    jobs.stop(settle_within_s)
    assert least_s <= time.monotonic() - began_at_s < most_s
    let_go.set()


def test_a_partition_is_held_for_its_jobs_for_half_of_the_poll_interval_at_most(parts: QueueParts) -> None:
    """Though the grace is 10 s: the group would take this worker for gone, and run the jobs a second time."""
    leaving = Assignment(1, "unit.q", 0)
    leaving.in_flight = 1
    began_at_s = time.monotonic()
    parts.group.member._grace.wait_ended([leaving])
    assert 0.3 <= time.monotonic() - began_at_s < 9
    assert WorkerSettings().revoke_grace == timedelta(seconds=10)


def test_a_partition_is_held_for_the_jobs_of_the_assignment_that_was_replaced(parts: QueueParts) -> None:
    """Its offsets went back while a job ran: the commit is past this job, and nobody delivers it again."""
    former, leaving = Assignment(1, "unit.q", 0), Assignment(2, "unit.q", 0)
    leaving.replace(former)
    former.in_flight = 1
    leaving.leave()
    began_at_s = time.monotonic()
    parts.group.member._grace.wait_ended([leaving])
    assert 0.3 <= time.monotonic() - began_at_s < 9


class SilentConsumer:
    """Gives nothing, and notes how long it may wait for a record."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def consume(self, limit: int, timeout: float) -> list[Message]:
        """Nothing is at hand."""
        return []

    def poll(self, timeout: float) -> None:
        """Nothing comes."""
        self.waits_s.append(timeout)


def test_a_poll_is_short_while_partitions_are_restored(parts: QueueParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is restored does not end a poll, and its jobs wait; with nothing to begin, a poll takes its time."""
    restored, consumer = threading.Event(), SilentConsumer()
    monkeypatch.setattr(parts.group.restoring, "_restore_until_done", lambda _added: restored.wait(60))
    monkeypatch.setattr(parts.group.member, "consumer", consumer)
    fetching = parts.worker._fetching
    fetching.turn()
    parts.group.rebalance.take([TopicPartition("unit.q", 0)])
    fetching.turn()
    restored.set()
    wait_until(lambda: not parts.group.rebalance.is_beginning)
    fetching.turn()
    assert consumer.waits_s == [POLL_TIMEOUT_S, SHORT_POLL_TIMEOUT_S, POLL_TIMEOUT_S]


def test_a_poll_is_short_while_jobs_become_durable(parts: QueueParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a backlog is committed at once: what is settled behind its last record does not end a poll."""
    consumer, settled = SilentConsumer(), parts.settling.settled
    monkeypatch.setattr(parts.group.member, "consumer", consumer)
    fetching, completion = parts.worker._fetching, parts.poll_thread.completion
    fetching.turn()
    settled.put(SettlementBatch())
    completion.note_settled()
    fetching.turn()
    completion.latest_at_s -= POLL_TIMEOUT_S
    fetching.turn()
    assert consumer.waits_s == [POLL_TIMEOUT_S, SHORT_POLL_TIMEOUT_S, POLL_TIMEOUT_S]


def test_half_of_the_poll_interval_is_that_of_the_client() -> None:
    """Five minutes, unless the cluster's options say otherwise."""
    assert longest_callback_s(ClusterSettings(bootstrap_servers=NOBODY)) == 150
    shorter = ClusterSettings(bootstrap_servers=NOBODY, options={"max.poll.interval.ms": 8_000})
    assert longest_callback_s(shorter) == 4
