"""What the poll thread has read of unique jobs: how far, by which ended ones are forgotten, and which are to come."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, Message

from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.intake.unique_arrivals import UniqueArrivals
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import MAIN
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.consumers.unique.holders import Holders
from stoker.consumers.unique.unique_jobs import UniqueJobs
from stoker.topology import Unique
from stoker.topology.wire.commit_metadata import CommitMetadata
from stoker.topology.wire.headers import JOB_ID, JOB_TYPE, UNIQUE
from support.scenes.deliveries import declare


def running() -> tuple[Assignments, Assignment]:
    """A partition of the main topic, whose jobs may start."""
    assignments = Assignments(declare().queue)
    topic = assignments.queue.topic
    assignment = Assignment(1, topic, 0, source=MAIN)
    assignment.note_restored(CommitMetadata(committed_offset=0, position=0))
    assignment.note_running()
    assignments._by_partition[topic, 0] = assignment
    return assignments, assignment


def complete_ms(*, end_read: int, log_end: int) -> int:
    """Up to when all has come, once the client has read to an offset and reports an end there."""
    assignments, assignment = running()
    unique = assignments.ledgers._unique[0] = UniqueJobs({}, Holders({}, 10))
    arrivals = UniqueArrivals(assignments, Calendar(60.0, 1_000, Reschedules()), lambda _assignment: log_end)
    end = Message(topic=assignment.topic, partition=0, offset=end_read, error=KafkaError(KafkaError._PARTITION_EOF))
    assert list(arrivals.let_pass([end])) == [end]
    return unique._complete_times.up_to({MAIN: end_read})


def test_all_has_come_where_the_log_is_read_to_its_end() -> None:
    """Up to a moment ago, by the clock."""
    assert complete_ms(end_read=3, log_end=3) > (time.time() - 60.0) * 1_000


def test_jobs_behind_an_open_transaction_are_still_to_come() -> None:
    """The client reports an end before it, though jobs behind may have arrived long ago."""
    assert complete_ms(end_read=3, log_end=5) == 0


def test_no_job_ends_in_favour_of_one_that_was_read_before_the_log_went_back() -> None:
    """The end of the log may be gone: the later job would never come, and none of the two would run."""
    assignments, assignment = running()
    types = {"work": Unique(on_conflict="replace")}
    unique = assignments.ledgers._unique[0] = UniqueJobs(types, Holders(types, 10))
    first, second = (record_at(offset, assignment) for offset in (0, 1))
    unique.note_arrival(first)
    unique.note_arrival(second)
    assignments.begin_anew(assignment, 0)
    assert unique.admit(first) is None


def record_at(offset: int, assignment: Assignment) -> Record:
    """A unique job."""
    headers = [(JOB_ID, b"job-%d" % offset), (JOB_TYPE, b"work"), (UNIQUE, b"work:a")]
    message = Message(
        topic=assignment.topic, partition=0, offset=offset, key=b"a", value=b"",
        headers=headers, timestamp=(2, 1_000),  # type: ignore[arg-type]  # the stub's list is invariant
    )  # fmt: skip
    return Record(message, assignment)
