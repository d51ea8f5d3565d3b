"""`SideReader`: a consumer beside the group's. It reads partitions to their ends, and never pauses them.

One reads the waiting topics. `PriorityReaders` has one for each topic of a priority.

The group's consumer is assigned these topics as well, so that the owner of a partition owns them, and commits for them;
but it leaves them paused. One consumer hands out what it has fetched ahead in the order of arrival, and a retry that is
due would wait behind thousands of jobs of the main topic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from ..progress.assignment import Assignment
from ..sources.source import Priority, ReaderOf
from .fetch_wakeup import wake_fetchers

BATCH: Final = 1_000
BEGIN_WITHIN_S: Final = 1.0
"""Brokers that are busy may take as long to answer: the client logs a question that it gives up on as a warning."""
PRIORITIES_INTERVAL_S: Final = 0.004
"""How often the consumers of priorities are asked: each call gives up the interpreter, and may get it back late."""


class SideReader:
    """The consumer of a queue's waiting topics, or of one priority; owned by the poll thread."""

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
            wake_fetchers(self.consumer, given, BEGIN_WITHIN_S)

    def end(self, partitions: Collection[TopicPartition]) -> None:
        """Read these no more, as far as they are read."""
        known = [partition for partition in partitions if (partition.topic, partition.partition) in self._reading]
        if known:
            self._reading -= {(partition.topic, partition.partition) for partition in known}
            self.consumer.incremental_unassign(known)

    def fetch(self, limit: int = BATCH) -> list[Message]:
        """Return the records that the client has fetched, at most so many; never waits."""
        return self.consumer.consume(limit, 0) if self._reading else []

    def close(self) -> None:
        """Let the connection go."""
        self.consumer.close()


class PriorityReaders:
    """The consumers of the priorities of a queue, one of each topic, so that none waits behind what others prefetch.

    Nothing is paused: what finds no room stays in the client, which bounds it.
    """

    def __init__(self, readers: Mapping[Priority, SideReader]) -> None:
        self._readers = readers
        self._next_at_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._readers)

    @property
    def consumers(self) -> dict[ReaderOf, Consumer]:
        """{priority: its consumer}."""
        return {priority: reader.consumer for priority, reader in self._readers.items()}

    def begin(self, priority: Priority, assignments: Iterable[Assignment]) -> None:
        """Read the topic of a priority in these assignments, but for those that are read already."""
        self._readers[priority].begin(starts(assignments))

    def __iter__(self) -> Iterator[Priority]:
        return iter(self._readers)

    def end(self, partitions: Collection[TopicPartition]) -> None:
        """Read these no more, as far as they are read."""
        for reader in self._readers.values():
            reader.end(partitions)

    def fetch(self, now_s: float, room_for: Callable[[str], int]) -> list[Message]:
        """Return what the clients have fetched, the most urgent first, as far as there is room; never waits."""
        if now_s < self._next_at_s:
            return []
        self._next_at_s = now_s + PRIORITIES_INTERVAL_S
        return [
            message
            for priority, reader in self._readers.items()
            if (room := room_for(priority.priority)) > 0
            for message in reader.fetch(min(BATCH, room))
        ]

    def close(self) -> None:
        """Let the connections go."""
        for reader in self._readers.values():
            reader.close()


def starts(assignments: Iterable[Assignment]) -> list[TopicPartition]:
    """Where to begin to read assignments that are restored."""
    return [TopicPartition(a.topic, a.partition, a.progress.fetched_from) for a in assignments]
