"""`wake_fetchers`: has a consumer fetch at once what it was just assigned, or has just resumed.

librdkafka has a thread for each broker. While the client has no partition of that broker, or all of them are paused,
the thread sleeps, for up to a second, and neither an assignment nor a resume wakes it. A request to the broker does. A
seek would as well, but only from some states of the partition, and while the client asks where a partition begins, a
seek is undone by the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

ANSWER_WITHIN_S: Final = 0.1
"""Sending the question is enough: where brokers do not answer, nothing can be fetched either."""


def wake_fetchers(consumer: Consumer, begun: Iterable[TopicPartition], within_s: float = ANSWER_WITHIN_S) -> None:
    """Ask the leaders of partitions where these end, in one request to each broker; the answer is of no use."""
    asked = [TopicPartition(at.topic, at.partition, OFFSET_END) for at in begun]
    try:
        consumer.offsets_for_times(asked, timeout=within_s)
    except KafkaException:
        return  # the client logs what is wrong with its brokers, and fetches within a second anyway
