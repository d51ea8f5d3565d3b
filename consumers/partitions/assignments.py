"""`Assignments`: which partitions are ours, and whether what they need is restored; owned by the poll thread.

Equal partition numbers of all topics of jobs belong together: they share a ledger, and none of them starts a job before
it is restored. Restoring happens elsewhere (`restore_thread.py`), while the partitions rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from itertools import count
from typing import Final

from confluent_kafka import TopicPartition

from ...topology import Queue
from ...topology.wire.commit_metadata import CommitMetadata
from ..progress.assignment import Assignment, AssignmentState
from ..progress.commit_state import CommitState
from ..progress.offset_set import OffsetSet
from ..sources.priorities import Priorities
from ..sources.source import Source, sources_of
from .carried_partitions import CarriedPartitions
from .catching_up import CatchingUp
from .fetch_order import FetchOrder
from .partition_ledgers import PartitionLedgers
from .restore import Restored
from .start_positions import StartPosition

RUNNING: Final = AssignmentState.RUNNING


class Assignments:
    """The partitions that this process owns.

    Attributes:
        queue, queue_name: the queue that they belong to.
        ledgers: the ledger of each partition number.
        carried: the carried jobs of each partition number.
        fetch_order: which partitions may be fetched.
        catching_up: what passes over records that were complete before.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue, self.queue_name = queue, queue.name
        self._sources = sources_of(queue)
        self._priorities = Priorities(queue.priorities) if queue.priorities else None
        self._numbers = count(1)
        self._by_partition: dict[tuple[str, int], Assignment] = {}
        self._restored: deque[Restored] = deque()
        self.ledgers = PartitionLedgers(queue)
        self.carried = CarriedPartitions()
        self.fetch_order = FetchOrder(queue, self.find, self.all)
        self.catching_up = CatchingUp(self.find)

    def find(self, topic: str | None, partition: int | None) -> Assignment | None:
        """The present assignment of a partition, if it is ours."""
        return self._by_partition.get((topic, partition))  # type: ignore[arg-type]  # None finds nothing, as it should

    def find_main(self, partition: int) -> Assignment | None:
        """The present assignment of a partition of the main topic, if it is ours."""
        return self.find(self.queue.topic, partition)

    def find_running(self, topic: str | None, partition: int | None) -> Assignment | None:
        """The present assignment of a partition, if it is ours and its jobs may start."""
        assignment = self._by_partition.get((topic, partition))  # type: ignore[arg-type]  # as above
        return assignment if assignment is not None and assignment.state is RUNNING else None

    def all(self) -> list[Assignment]:
        """All present assignments."""
        return list(self._by_partition.values())

    @property
    def main_partitions(self) -> tuple[int, ...]:
        """The owned partitions of the main topic."""
        return tuple(sorted(number for topic, number in list(self._by_partition) if topic == self.queue.topic))

    @property
    def owns_first_partition(self) -> bool:
        """Whether the first partition of the queue is this process's."""
        return 0 in self.main_partitions

    def add(self, partitions: list[TopicPartition]) -> list[Assignment]:
        """Begin assignments; none of their jobs starts before what they need is restored."""
        return [self._make(partition) for partition in partitions]

    def _make(self, partition: TopicPartition) -> Assignment:
        assignment = Assignment(
            next(self._numbers),
            partition.topic,
            partition.partition,
            source=self._sources[partition.topic],
            keeps_order=self.queue.ordering != "none",
            priorities=self._priorities,
        )
        self._by_partition[partition.topic, partition.partition] = assignment
        return assignment

    def receive_restored(self, restored: Restored) -> None:
        """Take what was restored, for `take_restored` to put to use; called from any thread."""
        self._restored.append(restored)

    def take_restored(self) -> list[Assignment]:
        """Put to use what was restored; returns the assignments that were restored just now.

        What was read for an assignment that has ended meanwhile is passed over: another owner may have written since.
        """
        begun: list[Assignment] = []
        while self._restored:
            restored = self._restored.popleft()
            for assignment, start in restored.start_positions.items():
                if assignment.is_current:
                    self.ledgers.put_to_use(assignment.partition, restored.ledgers[assignment.partition])
                    self._begin(assignment, start)
                    begun.append(assignment)
        return begun

    def _begin(self, assignment: Assignment, start: StartPosition) -> None:
        commit_state = CommitState(spilled_at=start.spilled_at, former_chunks=start.former_chunks)
        assignment.note_restored(start.state, start.incomplete, commit_state=commit_state, awaited=start.awaited)
        self.ledgers.restore_waiting(assignment.partition, start.unique)
        if start.carried is not None:
            assignment.progress.begin_known(start.carried.end, start.carried.incomplete)
            self.carried.begin(assignment.partition, start.carried)
        self.catching_up.begin(assignment)

    def begin_anew(self, former: Assignment, offset: int) -> Assignment:
        """Begin a new assignment of a partition that is not what it was from `offset` on, and is still ours.

        It begins at the lowest incomplete offset, if that lies before: what was fetched from there on and has not begun
        is dropped, and must be delivered again. What runs of the former one is settled in full, until both end: a retry
        that was left to the delivery to come would be lost where none comes, or where the ledger in memory has this
        attempt for settled.
        """
        assignment = self._make(TopicPartition(former.topic, former.partition))
        assignment.replace(former)
        committable = former.progress.committable()
        start = offset if committable is None else min(offset, committable)
        incomplete = OffsetSet(former.progress.incomplete_runs())
        incomplete.keep(start, offset)
        assignment.progress.begin(CommitMetadata(committed_offset=start, position=offset), incomplete)
        self.catching_up.begin(assignment)
        self.ledgers.forget_unread(former.partition)
        return assignment

    def leave(self, partitions: list[TopicPartition]) -> list[Assignment]:
        """Start no more records of these partitions; what runs may still end and be settled in time."""
        leaving = [a for partition in partitions if (a := self.find(partition.topic, partition.partition)) is not None]
        for assignment in leaving:
            assignment.leave()
        return leaving

    def leave_all(self) -> list[Assignment]:
        """Start no more records at all: the worker shuts down."""
        leaving = self.all()
        for assignment in leaving:
            assignment.leave()
        return leaving

    def end(self, leaving: Collection[Assignment]) -> None:
        """End assignments: results that come later are late. Ledgers without an assignment are put aside."""
        for assignment in leaving:
            assignment.end()
            del self._by_partition[assignment.topic, assignment.partition]
            self.carried.end(assignment)
        self.ledgers.put_aside({number for _, number in self._by_partition})

    def forget_old(self) -> None:
        """Have the ledgers forget what is long gone."""
        self.ledgers.forget_old(self._committable)

    def _committable(self, partition: int) -> dict[Source, int | None]:
        """Below which offset of each topic that producers publish to all jobs of a partition number are complete."""
        return {
            source: None if (found := self.find(topic, partition)) is None else found.progress.committable()
            for topic, source in self._sources.items()
            if source.is_entry
        }
