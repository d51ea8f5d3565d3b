"""Restores what a partition needs before its first job runs: the ledger's window, and how far its last owner came."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ...schemas import Undecodable
from ...topology import ClusterSettings, Queue
from .. import log_keys
from ..kafka.clients import make_reader
from ..kafka.log_tail import REQUEST_TIMEOUT_S, ShouldStop, Unrestorable, read_tail
from ..records.assignment import Assignment
from .ledger import Ledger
from .ledger_records import BATCH_NAMES, names_of
from .start_positions import StartPosition, find_start_positions

_LOGGER = logging.getLogger("stoker.ledger")

FIRST_SPAN_RECORDS: Final = 500
"""Read first: under load a record holds hundreds of completed jobs, else one; more follow until the window is full."""
NEXT_SPAN_FACTOR: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was read for some assignments.

    Attributes:
        ledgers: {partition number: ledger}.
        start_positions: where each of the assignments begins.
    """

    ledgers: Mapping[int, Ledger]
    start_positions: Mapping[Assignment, StartPosition]


def restore(
    cluster: ClusterSettings, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Restored:
    """Read the ledgers of the assignments' partitions, and how far the owners before had come.

    Raises:
        Unrestorable: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    # A fetch that waits at the broker for news would hold up the requests behind it, half a second each.
    consumer = make_reader(cluster, queue, f"stoker-restore-{queue.name}", {"fetch.wait.max.ms": 10})
    try:
        return read_left_behind(consumer, queue, assignments, should_stop)
    except KafkaException as failure:
        raise Unrestorable(f"what queue {queue.name!r} has left behind", failure.args[0]) from failure
    finally:
        consumer.close()


def read_left_behind(
    consumer: Consumer, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Restored:
    """The same, with a consumer at hand.

    Raises:
        Unrestorable, KafkaException: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    return Restored(
        ledgers={
            partition: _restore_ledger(consumer, queue, partition, should_stop)
            for partition in sorted({a.partition for a in assignments})
        },
        start_positions=find_start_positions(consumer, queue, assignments, should_stop),
    )


def _restore_ledger(consumer: Consumer, queue: Queue, partition: int, should_stop: ShouldStop) -> Ledger:
    """Read the topic's tail, and a longer one as long as it holds fewer completed jobs than the window takes."""
    low, high = consumer.get_watermark_offsets(TopicPartition(queue.ledger_topic, partition), timeout=REQUEST_TIMEOUT_S)
    span = FIRST_SPAN_RECORDS
    while True:
        start = max(low, high - span)
        ledger, first_ms = Ledger(queue.ledger, time.time), None
        unreadable: list[int] = []
        for message in read_tail(consumer, TopicPartition(queue.ledger_topic, partition, start), high, should_stop):
            first_ms = message.timestamp()[1] if first_ms is None else first_ms
            if not _remember(ledger, message):
                unreadable.append(message.offset() or 0)
        is_old = first_ms is not None and time.time() - first_ms / 1_000 > queue.ledger.age.total_seconds()
        if ledger.jobs >= queue.ledger.jobs or start == low or is_old:
            _tell_unreadable(queue, partition, unreadable)
            return ledger
        span *= NEXT_SPAN_FACTOR


def _remember(ledger: Ledger, message: Message) -> bool:
    """Take up what a record of the ledger names; False where it cannot be read."""
    key, value = message.key(), message.value()
    if key is None or value is None:
        return True
    try:
        names = names_of(_bytes(key), _bytes(value))
    except Undecodable:
        return False
    for name in names:
        ledger.add_former(name, at_s=message.timestamp()[1] / 1_000)
    return True


def _tell_unreadable(queue: Queue, partition: int, offsets: list[int]) -> None:
    if offsets:
        _LOGGER.warning(
            "%s/%d: %d batches cannot be read, the first at offset %d: the up to %d completed jobs in each are not "
            "remembered, so a repetition of one of them runs",
            queue.ledger_topic, partition, len(offsets), offsets[0], BATCH_NAMES,
            extra={log_keys.QUEUE: queue.name, log_keys.PARTITIONS: [partition], log_keys.COUNT: len(offsets)},
        )  # fmt: skip


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
