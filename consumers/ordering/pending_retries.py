"""Which records of retry tiers and delays later jobs of their keys wait for, in a queue with `ordering="strict"`.

Such a record is awaited under the partition where its job was first enqueued and the attempt that it is for, so that
a second record of an attempt, as a crash may leave, does not pass for the one to come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, TopicPartition

from ...topology.wire.commit_metadata import OffsetRange
from ..kafka.log_tail import ShouldStop, read_tail
from ..progress.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Deferred, Delayed, Outcome, Retried, Snoozed
from ..records.record import Record, attempt_or_1
from ..sources.source import Delay, Tier


def awaited_as(record: Record) -> Awaited:
    """The name under which a key waits for a record of a tier or a delay."""
    return record.assignment.source, record.assignment.partition, record.origin, attempt_or_1(record.headers)


def awaited_after(record: Record, outcome: Outcome) -> Awaited | None:
    """The name that a key waits for after an outcome that makes its job wait; None after any other outcome."""
    if not isinstance(outcome, Retried | Snoozed | Deferred | Delayed):
        return None
    partition, origin = record.assignment.partition, record.origin
    if isinstance(outcome, Retried):
        return Tier(outcome.tier), partition, origin, outcome.next_attempt
    return Delay(outcome.delay), partition, origin, attempt_or_1(record.headers)


def read_awaited(
    consumer: Consumer,
    tier: Assignment,
    stretch: OffsetRange,
    is_complete: Callable[[int], bool],
    should_stop: ShouldStop,
) -> Mapping[Lane, Mapping[int, Awaited]]:
    """Read the incomplete records of a stretch of a tier's partition: {key: {offset: the name it is awaited by}}.

    Raises:
        Unrestorable, KafkaException: the brokers do not answer.
    """
    start, end = stretch
    partition = TopicPartition(tier.topic, tier.partition, start)
    found: defaultdict[Lane, dict[int, Awaited]] = defaultdict(dict)
    for message in read_tail(consumer, partition, end, should_stop):
        if not is_complete(message.offset() or 0) and message.key() is not None:
            record = Record(message, tier)
            if record.lane is not None:
                found[record.lane][record.offset] = awaited_as(record)
    return found
