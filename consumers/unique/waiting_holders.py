"""Which unique jobs wait in a retry tier or a delay topic as an assignment begins: they hold their identities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, TopicPartition

from ...topology.wire import headers as wire
from ...topology.wire.commit_metadata import OffsetRange
from ..kafka.log_tail import ShouldStop, read_tail
from ..progress.assignment import Assignment
from ..records.record import Record, attempt_or_1
from .arrival import Identity, arrival_of, identity_of, instant_ms, is_accepted
from .holder import Holder, HolderPhase

WaitingHolder = tuple[str, Identity, Holder]
"""Job type, identity, holder."""


def holder_of(record: Record) -> WaitingHolder | None:
    """The holder that waits as this record; None where its job is not unique, or has not had its turn yet."""
    identity, job_type = identity_of(record), record.header(wire.JOB_TYPE)
    if identity is None or job_type is None or not is_accepted(record):
        return None
    arrival = arrival_of(record)
    has_run = attempt_or_1(record.headers) > 1
    return (
        job_type.decode("utf-8", "backslashreplace"),
        identity,
        Holder(
            arrival=arrival,
            first_ms=instant_ms(record.header(wire.PUT_OFF_SINCE), arrival.at_ms),
            phase=HolderPhase.WAITING,
            due_ms=instant_ms(record.header(wire.DUE), record.timestamp_ms),
            began_ms=arrival.at_ms if has_run else None,
            stopped_ms=record.timestamp_ms if has_run else None,
        ),
    )


def read_waiting(
    consumer: Consumer,
    tier: Assignment,
    stretch: OffsetRange,
    is_complete: Callable[[int], bool],
    should_stop: ShouldStop,
) -> Sequence[WaitingHolder]:
    """The records that a stretch of a tier's partition holds, and that are not complete.

    Raises:
        Unrestorable, KafkaException: the brokers do not answer.
    """
    start, end = stretch
    found: list[WaitingHolder] = []
    for message in read_tail(consumer, TopicPartition(tier.topic, tier.partition, start), end, should_stop):
        if not is_complete(message.offset() or 0):
            holder = holder_of(Record(message, tier))
            if holder is not None:
                found.append(holder)
    return found
