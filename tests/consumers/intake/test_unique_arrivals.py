"""How far a topic was read decides which ended unique jobs are forgotten."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, Message

from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.intake.unique_arrivals import UniqueArrivals
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.sources.source import MAIN
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.consumers.unique.holders import Holders
from stoker.consumers.unique.unique_jobs import UniqueJobs
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.scenes.deliveries import declare


def complete_ms(*, end_read: int, log_end: int) -> int:
    """Up to when all has come, once the client has read to an offset and reports an end there."""
    assignments = Assignments(declare().queue)
    topic = assignments.queue.topic
    assignment = Assignment(1, topic, 0, source=MAIN)
    assignment.note_restored(CommitMetadata(committed_offset=0, position=0))
    assignment.note_running()
    assignments._by_partition[topic, 0] = assignment
    unique = assignments.ledgers._unique[0] = UniqueJobs({}, Holders({}, 10))
    arrivals = UniqueArrivals(assignments, Calendar(60.0, 1_000, Reschedules()), lambda _assignment: log_end)
    end = Message(topic=topic, partition=0, offset=end_read, error=KafkaError(KafkaError._PARTITION_EOF))
    assert list(arrivals.let_pass([end])) == [end]
    return unique._complete_times.up_to({MAIN: end_read})


def test_all_has_come_where_the_log_is_read_to_its_end() -> None:
    """Up to a moment ago, by the clock."""
    assert complete_ms(end_read=3, log_end=3) > (time.time() - 60.0) * 1_000


def test_jobs_behind_an_open_transaction_are_still_to_come() -> None:
    """The client reports an end before it, though jobs behind may have arrived long ago."""
    assert complete_ms(end_read=3, log_end=5) == 0
