"""`TierReader`: reads the retry tiers and the delays with a consumer of their own, to their ends, never paused.

The group's consumer is assigned them as well, so that the owner of a partition owns them, and commits for them; but it
leaves them paused. One consumer hands out what it has fetched ahead in the order of arrival, and a retry
that is due would wait behind thousands of jobs of the main topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from ..records.assignment import Assignment

BATCH: Final = 1_000


class TierReader:
    """The consumer of a queue's retry tiers and delays; owned by the poll thread."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self._reading: set[tuple[str, int]] = set()

    def begin(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these from their offsets on, but for those that are read already."""
        given = [found for found in partitions if (found.topic, found.partition) not in self._reading]
        if given:
            self._reading |= {(partition.topic, partition.partition) for partition in given}
            self.consumer.incremental_assign(given)
            self.consumer.resume(given)  # the client remembers a pause beyond the assignment that it was made in

    def end(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these no more, as far as they are read."""
        known = [partition for partition in partitions if (partition.topic, partition.partition) in self._reading]
        if known:
            self._reading -= {(partition.topic, partition.partition) for partition in known}
            self.consumer.incremental_unassign(known)

    def fetch(self, limit: int = BATCH) -> list[Message]:
        """Return the records that the client has fetched, at most so many; never waits."""
        return self.consumer.consume(limit, 0) if self._reading else []

    def close(self) -> None:
        """Let the connections go."""
        self.consumer.close()


def starts(assignments: Iterable[Assignment]) -> list[TopicPartition]:
    """Where to begin to read assignments that are restored."""
    return [TopicPartition(a.topic, a.partition, a.progress.fetched_from) for a in assignments]
