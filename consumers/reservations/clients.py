"""`LevelLogReader`: the client that reads the log of reservations."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...topology.cluster.kafka_errors import is_fatal
from ...topology.cluster.leaders import ask_leaders

BATCH: Final = 1_000


class LevelLogReader:
    """Reads some partitions of the log of reservations, beside any group."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._assigned: set[int] = set()

    def ask_edges(self, partition: int, timeout_s: float) -> tuple[int, int]:
        """The first offset, and the one behind the last record.

        Raises:
            KafkaException: the brokers do not answer.
        """
        at = TopicPartition(self._topic, partition)
        found = ask_leaders(lambda: self._consumer.get_watermark_offsets(at, timeout=timeout_s), timeout_s)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return found

    def start(self, partition: int, offset: int) -> None:
        """Read this partition from this offset on; where that is gone, from the beginning."""
        self.end(partition)
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, offset)])
        self._assigned.add(partition)

    def end(self, partition: int) -> None:
        """Read this partition no more."""
        if partition in self._assigned:
            self._assigned.discard(partition)
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record.

        Raises:
            KafkaException: the client has failed for good.
        """
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        found = [first, *self._consumer.consume(BATCH, 0)]
        for message in found:
            error = message.error()
            if is_fatal(error):
                raise KafkaException(error)
        return [message for message in found if message.error() is None]

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()
