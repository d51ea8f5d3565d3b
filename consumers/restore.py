"""Restores a partition's ledger from its compacted topic, before the first job of the assignment runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..topology import ClusterSettings, LedgerWindow, Queue
from .ledger import Ledger

BATCH: Final = 10_000
REQUEST_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 15.0
READ_AHEAD_FACTOR: Final = 2
"""Records read for each that the window holds, since some repeat a name or were replaced by compaction."""


class LedgerUnreadable(Exception):
    """The ledger's topic gave nothing for too long: jobs of the partition must not start without it."""

    def __init__(self, topic: str, cause: object) -> None:
        super().__init__(f"the ledger {topic} cannot be read ({cause}); its partitions wait, and it is tried again")
        self.topic = topic


def restore_ledgers(
    cluster: ClusterSettings, queue: Queue, partitions: list[int], should_stop: Callable[[], bool]
) -> dict[int, Ledger]:
    """Read the window of each partition.

    Returns:
        {partition: ledger}, one for each asked for.

    Raises:
        LedgerUnreadable: the brokers did not give the records within a bounded time, or `should_stop` said so.
    """
    ledgers = {partition: Ledger(queue.ledger) for partition in partitions}
    consumer = Consumer(_config(cluster, queue))
    try:
        unread = _assign_tails(consumer, queue, partitions)
        _read_until(consumer, unread, ledgers, queue.ledger_topic, should_stop)
    except KafkaException as failure:
        raise LedgerUnreadable(queue.ledger_topic, failure.args[0]) from failure
    finally:
        consumer.close()
    return ledgers


def _config(cluster: ClusterSettings, queue: Queue) -> dict[str, str | int | float | bool]:
    config = cluster.client_config(client_id=f"stoker-restore-{queue.name}")
    return config | {
        "group.id": f"{queue.group}.restore",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 10,
        "queued.max.messages.kbytes": 8_192,
    }


def _assign_tails(consumer: Consumer, queue: Queue, partitions: list[int]) -> dict[int, int]:
    """Begin where the window may begin.

    Returns:
        {partition: offset at which its tail ends}; partitions with nothing to read are left out.
    """
    starts, unread = [], {}
    for partition in partitions:
        at = TopicPartition(queue.ledger_topic, partition)
        low, high = consumer.get_watermark_offsets(at, timeout=REQUEST_TIMEOUT_S)
        if high > low:
            starts.append(TopicPartition(queue.ledger_topic, partition, _tail_start(low, high, queue.ledger)))
            unread[partition] = high
    consumer.assign(starts)
    return unread


def _tail_start(low: int, high: int, window: LedgerWindow) -> int:
    return max(low, high - READ_AHEAD_FACTOR * window.jobs)


def _read_until(
    consumer: Consumer,
    unread: dict[int, int],
    ledgers: Mapping[int, Ledger],
    topic: str,
    should_stop: Callable[[], bool],
) -> None:
    last_news_s = time.monotonic()
    while unread:
        messages = consumer.consume(BATCH, timeout=0.05)
        if messages:
            last_news_s = time.monotonic()
        if should_stop() or time.monotonic() - last_news_s > IDLE_TIMEOUT_S:
            raise LedgerUnreadable(topic, f"nothing came for {IDLE_TIMEOUT_S:g} s, or the worker stops")
        for message in messages:
            _read_one(message, unread, ledgers)


def _read_one(message: Message, unread: dict[int, int], ledgers: Mapping[int, Ledger]) -> None:
    partition, offset = message.partition(), message.offset()
    error, key = message.error(), message.key()
    if partition is None or offset is None:
        return
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        unread.pop(partition, None)
        return
    if key is not None and message.value() is not None:
        name = key if isinstance(key, str) else key.decode("utf-8", "backslashreplace")
        ledgers[partition].add(name, at_s=message.timestamp()[1] / 1_000)
    if offset + 1 >= unread.get(partition, 0):
        unread.pop(partition, None)
