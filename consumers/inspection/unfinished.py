"""`UnfinishedCount`: how many records of its partitions, on all topics of the queue, have no outcome yet.

A client knows the end of a partition from its fetches, so while a partition rests that knowledge stands still, just
when people look at it. Then the brokers are asked: one partition at a time, since it is the poll thread that waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ..group.member import GroupMember
from ..in_flight.memory_bounds import MemoryBounds
from ..kafka.side_readers import PriorityReaders, SideReader
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..sources.source import MAIN, Reader, ReaderOf

ASK_TIMEOUT_S: Final = 0.5


class UnfinishedCount:
    """Owned by the poll thread, but for `latest`, which any thread may read.

    Attributes:
        latest: the count when it was noted last; None before that.
    """

    def __init__(
        self,
        assignments: Assignments,
        member: GroupMember,
        side_reader: SideReader,
        priorities: PriorityReaders,
        memory_bounds: MemoryBounds,
    ) -> None:
        self._assignments, self._member, self._memory_bounds = assignments, member, memory_bounds
        self._side_reader, self._priorities = side_reader, priorities
        self._asked: dict[Assignment, int] = {}
        self._next = 0
        self.latest: int | None = None

    def note(self) -> None:
        """Count them for people, also while partitions rest."""
        self.latest = self.measure(is_resting=self._memory_bounds.is_paused)

    def measure(self, *, is_resting: bool) -> int:
        """Records that are not complete, delayed ones included, as far as the ends are known."""
        readers, assignments = self._readers(), self._assignments.all()
        if is_resting and assignments:
            self._next = (self._next + 1) % len(assignments)
            self._ask(readers[assignments[self._next].source.reader], assignments[self._next])
        elif self._asked:
            self._asked.clear()
        return sum(self._unfinished(readers[assignment.source.reader], assignment) for assignment in assignments)

    def main_ends(self) -> dict[Assignment, int]:
        """{assignment of the main topic whose jobs may start: end of its partition}, as far as the client knows it."""
        consumer = self._member.consumer
        known = {
            assignment: consumer.get_watermark_offsets(_place(assignment), cached=True)
            for assignment in self._assignments.all()
            if assignment.source is MAIN and assignment.is_running
        }
        return {assignment: end for assignment, (_, end) in known.items() if end >= 0}

    def _readers(self) -> Mapping[ReaderOf, Consumer]:
        """The consumer of each source."""
        return {
            Reader.GROUP: self._member.consumer,
            Reader.SIDE: self._side_reader.consumer,
            **self._priorities.consumers,
        }

    def _ask(self, reader: Consumer, assignment: Assignment) -> None:
        with suppress(KafkaException):  # an outage is logged elsewhere; the last figure stays
            _, self._asked[assignment] = reader.get_watermark_offsets(_place(assignment), ASK_TIMEOUT_S, cached=False)

    def _unfinished(self, reader: Consumer, assignment: Assignment) -> int:
        _, fetched = reader.get_watermark_offsets(_place(assignment), cached=True)
        end = max(fetched, self._asked.get(assignment, -1))
        progress = assignment.progress
        return 0 if progress.committable() is None or end < 0 else progress.left_before(end)


def _place(assignment: Assignment) -> TopicPartition:
    return TopicPartition(assignment.topic, assignment.partition)
