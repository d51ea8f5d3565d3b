"""`PartitionReading`: begins to read partitions whose start is committed, each with its consumer, and ends it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from confluent_kafka import Consumer, TopicPartition

from ..carrying.restored_jobs import RestoredJobs
from ..dispatch.unbegun_records import UnbegunRecords
from ..in_flight.memory_bounds import MemoryBounds
from ..kafka.side_readers import PriorityReaders, SideReader, starts
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..sources.source import Reader


class PartitionReading:
    """The consumers of one queue, and what is to be ready before they read; called by the poll thread.

    Where a partition begins with carried jobs, those that were enqueued before its first record go to their lanes.
    """

    def __init__(
        self,
        assignments: Assignments,
        unbegun: UnbegunRecords,
        lanes: Lanes,
        *,
        memory_bounds: MemoryBounds,
        side_reader: SideReader,
        priorities: PriorityReaders,
        restored: RestoredJobs,
    ) -> None:
        self._assignments = assignments
        self._carried, self._fetch_order = assignments.carried, assignments.fetch_order
        self._unbegun = unbegun
        self._lanes = lanes
        self._memory_bounds = memory_bounds
        self._side_reader = side_reader
        self._priorities = priorities
        self._restored = restored

    def begin(self, consumer: Consumer, opened: Collection[Assignment]) -> None:
        """Read these from where they begin; `consumer` is the group's."""
        for assignment in opened:
            assignment.note_running()
            self._unbegun.begin(assignment)
            carried = self._carried.take(assignment)
            if carried is not None:
                self._restored.begin(assignment, carried)
        self._begin_fetching(consumer, opened)

    def _begin_fetching(self, consumer: Consumer, opened: Collection[Assignment]) -> None:
        of_group = self._fetch_order.fetchable(opened, Reader.GROUP)
        of_waiting = self._fetch_order.fetchable(opened, Reader.SIDE)
        for assignment in (*of_group, *of_waiting):
            self._begin_lanes(assignment)
        for assignment in of_group:
            self._restored.put_before(assignment.partition, assignment.progress.fetched_from)
        for number in {a.partition for a in of_waiting if self._assignments.find_main(a.partition) is None}:
            self._restored.put_all(number)  # amid a rolling update, they may be alone here
        self._memory_bounds.admit(consumer, of_group)
        self._side_reader.begin(starts(of_waiting))
        for priority in self._priorities:
            of_priority = self._fetch_order.fetchable(opened, priority)
            for assignment in of_priority:
                self._begin_lanes(assignment)
                begins_at = assignment.progress.fetched_from
                self._restored.put_before(assignment.partition, begins_at, assignment.topic)
            self._priorities.begin(priority, of_priority)

    def _begin_lanes(self, assignment: Assignment) -> None:
        """Take records for complete of which copies were carried forward, and let keys wait for the others."""
        superseded = self._carried.superseded(assignment)
        assignment.progress.supersede(superseded)
        self._lanes.begin(assignment.take_awaited(superseded))

    def end(self, partitions: Collection[TopicPartition]) -> None:
        """Read these no more beside the group; its own consumer is told by the group."""
        self._priorities.end(partitions)
        self._side_reader.end(partitions)


def seek(consumer: Consumer, assignments: Iterable[Assignment]) -> None:
    """Have the group's consumer read these from where they begin, as far as they are its own."""
    for partition in starts([found for found in assignments if found.source.reader is Reader.GROUP]):
        consumer.seek(partition)
