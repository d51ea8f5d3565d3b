"""Reads the end of a partition beside the group: what restoring needs of the ledger's and the progress topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

BATCH: Final = 10_000
NEWS_TIMEOUT_S: Final = 0.05
IDLE_TIMEOUT_S: Final = 15.0
REQUEST_TIMEOUT_S: Final = 10.0
"""For one question of restoring to the brokers."""

ShouldStop = Callable[[], bool]


class Unrestorable(Exception):
    """The brokers gave nothing for too long: jobs of the partitions must not start without it."""

    def __init__(self, topic: str, cause: object) -> None:
        super().__init__(
            f"{topic} cannot be read ({cause}); its partitions wait, and the worker tries again. "
            f"Check the brokers, and Read on {topic}"
        )
        self.topic = topic


def read_tail(consumer: Consumer, partition: TopicPartition, end: int, should_stop: ShouldStop) -> Iterator[Message]:
    """The records of a partition, from its offset up to `end`, where it ended when that was asked; it may have gaps.

    Raises:
        Unrestorable: nothing came within a bounded time, or `should_stop` returned true.
        KafkaException: the client's own error.
    """
    if partition.offset >= end:
        return
    consumer.assign([partition])
    for messages in _batches(consumer, partition.topic, should_stop):
        for message in messages:
            reached = _reached(message)
            if message.error() is None:
                yield message
            if reached is not None and reached >= end:
                return


def _batches(consumer: Consumer, topic: str, should_stop: ShouldStop) -> Iterator[list[Message]]:
    """Yield batches as they come, without an end; a batch may be empty."""
    last_news_at_s = time.monotonic()
    while True:
        messages = _take_messages(consumer)
        if messages:
            last_news_at_s = time.monotonic()
        if should_stop() or time.monotonic() - last_news_at_s > IDLE_TIMEOUT_S:
            raise Unrestorable(topic, f"nothing came for {IDLE_TIMEOUT_S:g} s, or the worker stops")
        yield messages


def _take_messages(consumer: Consumer) -> list[Message]:
    """Take what is there, or wait for one message: `consume` with a timeout waits for a whole batch."""
    at_hand = consumer.consume(BATCH, 0)
    if at_hand:
        return at_hand
    first = consumer.poll(NEWS_TIMEOUT_S)
    return [] if first is None else [first]


def _reached(message: Message) -> int | None:
    """The offset behind a record, or the one at which the partition ends by the word of its leader.

    A new leader may report for a moment that its log ends before what the one before has confirmed.
    """
    error, offset = message.error(), message.offset()
    if error is None:
        return None if offset is None else offset + 1
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return offset
