"""Assignments come and go while records of theirs are on their way: none is passed over, and none is forgotten."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from stoker.consumers.commits.commits import Commits
from stoker.consumers.commits.spill import Spill
from stoker.consumers.job.failure import describe_failure
from stoker.consumers.kafka.log_tail import read_tail
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.partitions.ledger import Ledger, tried_name
from stoker.consumers.partitions.restore import Restored
from stoker.consumers.partitions.start_positions import StartPosition
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.settling.writes import plan_writes
from stoker.topology.wire.commit_metadata import CommitMetadata
from stoker.topology.wire.ledger_names import LONGEST_NAME_BYTES, deduplication_id
from support.scenes.deliveries import NOW, TIERS, declare

RETRIED = Retried(due=NOW, tier=TIERS[0], next_attempt=2, failure=describe_failure("work", ValueError("x")))
MAIN = TopicPartition("unit.q", 0)


def restored(state: CommitMetadata) -> tuple[Assignments, Assignment]:
    """One partition that goes on from a state."""
    queue = declare().queue
    assignments = Assignments(queue)
    (assignment,) = assignments.add([MAIN])
    start_positions = {assignment: StartPosition(state=state)}
    assignments.receive_restored(Restored(ledgers={0: Ledger(queue.ledger)}, start_positions=start_positions))
    assert assignments.take_restored() == [assignment]
    return assignments, assignment


def message(offset: int) -> Message:
    """One of the main topic."""
    return Message(topic=MAIN.topic, partition=0, offset=offset, value=b"")


def test_what_is_left_out_while_a_partition_goes_away_is_not_committed_past() -> None:
    """5 and 7 are complete, 6 is not: it is left out, since the partition is being given away, and stays incomplete."""
    assignments, assignment = restored(CommitMetadata(committed_offset=4, position=8, incomplete=((4, 5), (6, 7))))
    assignment.progress.note_delivered(4)
    assignment.progress.complete(4)
    assignments.leave([MAIN])
    for _delivered in assignments.catching_up.without_complete([message(5), message(6), message(7)]):
        pass  # as the intake does with those of a closed partition
    assert assignment.progress.committable() == 6


def test_a_retry_of_a_partition_that_began_anew_is_written() -> None:
    """The partition is ours all the time: the job that failed meanwhile may never be delivered again."""
    assignments, former = restored(CommitMetadata(committed_offset=7, position=7))
    former.note_running()
    delivery = declare()
    record = delivery.record(offset=7, assignment=former)
    assignments.begin_anew(assignments.begin_anew(former, 0), 0)

    def writes() -> tuple[object, ...]:
        return plan_writes(record, RETRIED, queue=delivery.queue, worker_id="w", now=NOW).records

    assert not former.is_current
    assert len(writes()) == 1
    assignments.end(assignments.leave([MAIN]))
    assert not writes()


def test_a_tier_that_comes_later_brings_what_its_owner_has_settled_meanwhile() -> None:
    """The ledger that is there was read before: what is new in the one that came with the tier is added to it."""
    assignments, _ = restored(CommitMetadata(committed_offset=7, position=7))
    assignments.ledgers.present[0].add("mine")
    (tier,) = assignments.add([TopicPartition("unit.q.retry.1s", 0)])
    later = Ledger(declare().queue.ledger)
    names = [declare().record({"ce_id": b"done"}), declare().record({"ce_id": b"failed"})]
    later.add("done")
    later.add(tried_name(names[1]))
    start_positions = {tier: StartPosition(state=CommitMetadata(committed_offset=0, position=0))}
    assignments.receive_restored(Restored(ledgers={0: later}, start_positions=start_positions))
    assignments.take_restored()
    mine = declare().record({"ce_id": b"mine"})
    assert all(assignments.ledgers.present[0].remembers(record) for record in (*names, mine))


def test_a_ledger_that_came_with_all_tiers_is_put_to_use_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not absorb itself for each tier: of a million names, that took a new owner half a minute."""
    queue = declare().queue
    assignments = Assignments(queue)
    added = assignments.add([TopicPartition(topic, 0) for topic in queue.job_topics])
    start = StartPosition(state=CommitMetadata(committed_offset=0, position=0))
    ledger = Ledger(queue.ledger)
    monkeypatch.setattr(Ledger, "absorb", lambda *_: pytest.fail("nothing is new in it"))
    assignments.receive_restored(Restored(ledgers={0: ledger}, start_positions=dict.fromkeys(added, start)))
    assert assignments.take_restored() == added
    assert assignments.ledgers.present[0] is ledger


class OldCoordinator:
    """Stands for brokers before Kafka 4, which refuse the large metadata of a commit, and take the rest of it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: dict[int, tuple[int, str]] = {}

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        """Commit what is small."""
        answered = []
        for place in offsets:
            text = place.metadata or ""
            if len(text) < self.limit:
                self.kept[place.partition] = place.offset, text
            answered.append(Answered(place, None if len(text) < self.limit else TOO_LARGE))
        return cast(list[TopicPartition], answered)


TOO_LARGE = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)


class Answered:
    """A partition in an answer, whose error none but the client can set."""

    def __init__(self, place: TopicPartition, error: KafkaError | None) -> None:
        self.topic, self.partition, self.offset, self.metadata = place.topic, place.partition, place.offset, ""
        self.metadata = place.metadata or ""
        self.error = error


def test_a_partition_whose_metadata_alone_is_refused_is_committed_with_less() -> None:
    """Brokers before Kafka 4 take the other partitions of the same commit, and say so only partition by partition."""
    queue = declare().queue
    assignments = Assignments(queue)
    large, small = assignments.add([MAIN, TopicPartition(MAIN.topic, 1)])
    for offset in range(2_000):
        large.progress.note_delivered(offset)
    for offset in range(1, 2_000, 2):
        large.progress.complete(offset)
    small.progress.note_delivered(0)
    commits = Commits(assignments, cast(Spill, NoSpill()), WorkerSettings().commit_interval)
    coordinator = OldCoordinator(600)
    commits.last.commit(cast(Consumer, coordinator), [large, small])
    assert {partition: offset for partition, (offset, _) in coordinator.kept.items()} == {0: 0, 1: 0}
    state = CommitMetadata.decode(coordinator.kept[0][1], 0)
    assert state is not None
    assert not state.is_open


class SlowCoordinator:
    """Takes commits, and answers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[list[TopicPartition]] = []

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Take one."""
        assert asynchronous
        self.sent.append(offsets)

    @property
    def offsets(self) -> list[int]:
        """What was sent of the only partition."""
        return [place.offset for (place,) in self.sent]


def test_a_commit_waits_for_the_answer_to_the_one_before() -> None:
    """The client repeats one whose connection broke; the older one, taken after the newer, would undo it for good."""
    assignments, assignment = restored(CommitMetadata(committed_offset=0, position=0))
    commits = Commits(assignments, Spill(declare().queue, cast(Any, None)), timedelta(0))
    coordinator = SlowCoordinator()
    for offset in range(3):
        assignment.progress.note_delivered(offset)
        assignment.progress.complete(offset)
        commits.commit_if_due(cast(Consumer, coordinator))
    assert coordinator.offsets == [1]
    commits.note_answer(None, coordinator.sent[0])
    commits.commit_if_due(cast(Consumer, coordinator))
    assert coordinator.offsets == [1, 3]
    commits.note_answer(KafkaError(KafkaError._TIMED_OUT), coordinator.sent[1])
    commits.commit_if_due(cast(Consumer, coordinator))
    assert coordinator.offsets == [1, 3, 3]


class NoSpill:
    """The progress topic is of no use."""

    def offer(self, _assignment: Assignment) -> None:
        """It is not written."""

    offer_last = clean = clean_last = offer

    def wait(self, _timeout_s: float) -> None:
        """There is nothing to wait for."""


class Lagging:
    """Stands for a leader that says at first that its log ends before what the one before has confirmed."""

    def __init__(self) -> None:
        end = Message(topic="t", partition=0, offset=1, error=KafkaError(KafkaError._PARTITION_EOF))
        self._answers = [[message(0), end], [], [message(1)]]

    def assign(self, _places: list[TopicPartition]) -> None:
        """It has one partition."""

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        """What is there by now."""
        return self._answers.pop(0)

    def poll(self, timeout_s: float) -> None:
        """Nothing comes within a moment."""
        assert timeout_s


def test_a_log_is_read_to_the_end_that_was_given_and_not_only_to_one_that_lags() -> None:
    """Else a new owner would not know of the last retries and completed jobs of the one before."""
    place = TopicPartition("t", 0, 0)
    read = read_tail(cast(Consumer, Lagging()), place, 2, lambda: False)
    assert [found.offset() for found in read] == [0, 1]


def test_names_of_the_ledger_are_bounded_as_they_are_written() -> None:
    """A byte that is no UTF-8 is written as four characters: a batch of such names must not outgrow its topic."""
    names = [deduplication_id({"stoker-idempotency-key": key * 1_000}) for key in (b"\xff", b"k")]
    assert names[1] == "k" * 1_000
    assert all(name is not None and len(name.encode()) <= LONGEST_NAME_BYTES for name in names)


@pytest.mark.parametrize(("away_s", "is_known"), [(119.0, True), (121.0, False)])
def test_completed_jobs_of_a_partition_that_went_away_are_known_for_two_minutes(
    away_s: float, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    """Some may not be on the topic yet when it comes back and is read; later, memory must not grow by each owner."""
    now_s = time.monotonic()
    assignments, _ = restored(CommitMetadata(committed_offset=0, position=0))
    assignments.ledgers.present[0].add_job("job-1")
    assignments.end(assignments.leave([MAIN]))
    monkeypatch.setattr(time, "monotonic", lambda: now_s + away_s)
    assignments.forget_old()
    (again,) = assignments.add([MAIN])
    start_positions = {again: StartPosition(state=CommitMetadata(committed_offset=0, position=0))}
    assignments.receive_restored(Restored(ledgers={0: Ledger(declare().queue.ledger)}, start_positions=start_positions))
    assert assignments.take_restored() == [again]
    assert assignments.ledgers.present[0].remembers(declare().record({"ce_id": b"job-1"})) == is_known
