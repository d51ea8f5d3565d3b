"""Restores what a partition needs before its first job runs: the ledger's window, and where its retry tiers stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..topology import ClusterSettings, Queue
from .ledger import Ledger
from .ledger_records import names_of
from .record import Assignment

BATCH: Final = 10_000
REQUEST_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 15.0
FIRST_SPAN_RECORDS: Final = 500
"""Read first: under load a record holds hundreds of completed jobs, else one; more follow until the window is full."""
NEXT_SPAN_FACTOR: Final = 4

MEMBERS_OPTIONS: Final = frozenset(
    {"max.poll.interval.ms", "session.timeout.ms", "heartbeat.interval.ms", "group.instance.id"}
)
"""The cluster's options that are meant for members of the group, and contradict the others elsewhere."""

ShouldStop = Callable[[], bool]


class Unrestorable(Exception):
    """The brokers gave nothing for too long: jobs of the partitions must not start without it."""

    def __init__(self, topic: str, cause: object) -> None:
        super().__init__(f"the ledger {topic} cannot be read ({cause}); its partitions wait, and it is tried again")
        self.topic = topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was read for some assignments.

    Attributes:
        ledgers: {partition number: ledger}.
        tier_places: where to begin to read the retry tiers among the assignments.
    """

    assignments: Collection[Assignment]
    ledgers: dict[int, Ledger]
    tier_places: list[TopicPartition]


def restore(
    cluster: ClusterSettings, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Restored:
    """Read the ledgers of the assignments' partitions, and the committed offsets of those that are tiers.

    Raises:
        Unrestorable: the brokers did not answer within a bounded time, or `should_stop` said so.
    """
    config = reader_config(cluster, queue, f"stoker-restore-{queue.name}")
    # A fetch that waits at the broker for news would hold up the requests behind it, half a second each.
    consumer = Consumer({**config, "fetch.wait.max.ms": 10})
    try:
        return Restored(
            assignments=assignments,
            ledgers={
                partition: _restore_ledger(consumer, queue, partition, should_stop)
                for partition in sorted({a.partition for a in assignments})
            },
            tier_places=_committed(consumer, [a for a in assignments if a.tier is not None]),
        )
    except KafkaException as failure:
        raise Unrestorable(queue.ledger_topic, failure.args[0]) from failure
    finally:
        consumer.close()


def reader_config(cluster: ClusterSettings, queue: Queue, client_id: str) -> dict[str, str | int | float | bool]:
    """Options of a consumer that reads beside the group, by assigning itself; it commits nothing."""
    config = cluster.client_config(client_id=client_id, reconnect_backoff_max_ms=2_000)
    return {name: value for name, value in config.items() if name not in MEMBERS_OPTIONS} | {
        "group.id": queue.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 2_000,
        "queued.max.messages.kbytes": 8_192,
    }


def _committed(consumer: Consumer, tiers: Collection[Assignment]) -> list[TopicPartition]:
    if not tiers:
        return []
    found = consumer.committed([TopicPartition(a.topic, a.partition) for a in tiers], timeout=REQUEST_TIMEOUT_S)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < 0:
            place.offset = OFFSET_BEGINNING
    return found


def _restore_ledger(consumer: Consumer, queue: Queue, partition: int, should_stop: ShouldStop) -> Ledger:
    """Read the topic's tail, and a longer one as long as it holds fewer completed jobs than the window takes."""
    low, high = consumer.get_watermark_offsets(TopicPartition(queue.ledger_topic, partition), timeout=REQUEST_TIMEOUT_S)
    span = FIRST_SPAN_RECORDS
    while True:
        tail = _Tail(queue, partition, max(low, high - span), high)
        ledger = tail.read(consumer, should_stop)
        if ledger.jobs >= queue.ledger.jobs or tail.start == low or tail.began_before(queue.ledger.age.total_seconds()):
            return ledger
        span *= NEXT_SPAN_FACTOR


class _Tail:
    """The records of one ledger partition from an offset to its present end."""

    def __init__(self, queue: Queue, partition: int, start: int, end: int) -> None:
        self._place = TopicPartition(queue.ledger_topic, partition, start)
        self._ledger = Ledger(queue.ledger)
        self._end = end
        self._first_ms: int | None = None
        self._is_read = start >= end
        self.start = start

    def began_before(self, age_s: float) -> bool:
        """Whether its first record is older than that, so that nothing before it would be remembered."""
        return self._first_ms is not None and time.time() - self._first_ms / 1_000 > age_s

    def read(self, consumer: Consumer, should_stop: ShouldStop) -> Ledger:
        """Read it; it has gaps where compaction was at work."""
        consumer.assign([self._place])
        last_news_s = time.monotonic()
        while not self._is_read:
            messages = consumer.consume(BATCH, timeout=0.05)
            if messages:
                last_news_s = time.monotonic()
            if should_stop() or time.monotonic() - last_news_s > IDLE_TIMEOUT_S:
                raise Unrestorable(self._place.topic, f"nothing came for {IDLE_TIMEOUT_S:g} s, or the worker stops")
            for message in messages:
                self._take(message)
        return self._ledger

    def _take(self, message: Message) -> None:
        error, offset, key, value = message.error(), message.offset(), message.key(), message.value()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        self._is_read = self._is_read or error is not None or (offset is not None and offset + 1 >= self._end)
        if error is not None or key is None:
            return
        stamp_ms = message.timestamp()[1]
        self._first_ms = stamp_ms if self._first_ms is None else self._first_ms
        if value is not None:
            for name in names_of(_bytes(key), _bytes(value)):
                self._ledger.add_former(name, at_s=stamp_ms / 1_000)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
