"""What wakes a client's thread needs no answer; that jobs begin at once by it is seen on a real broker."""

from __future__ import annotations

from typing import cast

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from stoker.consumers.kafka.fetch_wakeup import wake_fetchers


class Unanswered:
    """A consumer whose brokers do not answer."""

    def __init__(self) -> None:
        self.asked: list[list[TopicPartition]] = []

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Note the question, which may take a tenth of a second."""
        assert timeout == 0.1
        self.asked.append(asked)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_brokers_that_do_not_answer_are_no_fault() -> None:
    """One question names all partitions, so that each broker gets one request."""
    consumer = Unanswered()
    wake_fetchers(cast(Consumer, consumer), [TopicPartition("q", 0, 7), TopicPartition("q", 1)])
    [asked] = consumer.asked
    assert [(at.partition, at.offset) for at in asked] == [(0, OFFSET_END), (1, OFFSET_END)]
