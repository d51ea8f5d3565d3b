"""`Assignments`: which partitions are ours, and whether what they need is restored; owned by the poll thread.

Equal partition numbers of the main topic and of all tiers belong together: they share a ledger, and none of them
starts a job before it is restored. Restoring happens elsewhere (`restore_thread.py`), while the partitions rest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import Final

from confluent_kafka import Message, TopicPartition

from ...topology import Queue
from ...topology.wire.commit_metadata import CommitMetadata
from ..progress.assignment import Assignment
from ..progress.assignment import AssignmentState
from ..progress.commit_state import CommitState
from ..progress.offset_set import OffsetSet
from ..sources.priorities import Priorities
from ..sources.source import ReaderOf
from ..sources.source import sources_of
from ..unique.holders import Holders
from ..unique.unique_jobs import UniqueJobs
from .carried import CarriedJobs
from .ledger import Ledger
from .restore import Restored
from .start_positions import StartPosition

RUNNING: Final = AssignmentState.RUNNING
FORMER_KEPT_S: Final = 120.0
"""How long the ledger of a partition that went away is kept, lest its jobs run twice if it soon comes back."""


class Assignments:
    """The partitions that this process owns."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._sources = sources_of(queue)
        self._priorities = Priorities(queue.priorities) if queue.priorities else None
        self._numbers = count(1)
        self._by_partition: dict[tuple[str, int], Assignment] = {}
        self._restored: deque[Restored] = deque()
        self.ledgers: dict[int, Ledger] = {}
        self.unique: dict[int, UniqueJobs] = {}
        self.catching_up: set[Assignment] = set()
        self._carried: dict[int, CarriedJobs] = {}
        self._former: dict[int, tuple[float, Ledger]] = {}

    def find(self, topic: str | None, partition: int | None) -> Assignment | None:
        """The present assignment of a partition, if it is ours."""
        return self._by_partition.get((topic, partition))  # type: ignore[arg-type]  # None finds nothing, as it should

    def find_main(self, partition: int) -> Assignment | None:
        """The present assignment of a partition of the main topic, if it is ours."""
        return self.find(self._queue.topic, partition)

    def find_running(self, topic: str | None, partition: int | None) -> Assignment | None:
        """The present assignment of a partition, if it is ours and its jobs may start."""
        assignment = self._by_partition.get((topic, partition))  # type: ignore[arg-type]  # as above
        return assignment if assignment is not None and assignment.state is RUNNING else None

    def find_unique(self, partition: int) -> UniqueJobs | None:
        """The unique jobs of a partition number that is ours, or was a moment ago."""
        return self.unique.get(partition)

    def all(self) -> list[Assignment]:
        """All present assignments."""
        return list(self._by_partition.values())

    @property
    def queue(self) -> Queue:
        """The queue that they belong to."""
        return self._queue

    @property
    def queue_name(self) -> str:
        """The name of that queue."""
        return self._queue.name

    @property
    def main_partitions(self) -> tuple[int, ...]:
        """The owned partitions of the main topic."""
        return tuple(sorted(number for topic, number in list(self._by_partition) if topic == self._queue.topic))

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
            keeps_order=self._queue.ordering != "none",
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
                    self._put_to_use(assignment.partition, restored.ledgers[assignment.partition])
                    self._begin(assignment, start)
                    begun.append(assignment)
        return begun

    def take_carried(self, carried: Assignment) -> CarriedJobs | None:
        """The carried jobs of a partition of the carried topic as its assignment begins; given once."""
        jobs = self._carried.get(carried.partition)
        if not carried.source.has_copies or jobs is None:
            return None
        self._carried[carried.partition] = jobs.without_records()
        return jobs

    def holds_carried(self, partition: int) -> bool:
        """Whether carried jobs of a partition number wait here, which must be known before others of it are read."""
        carried = self.find(self._queue.carried_topic, partition)
        return carried is not None and bool(carried.progress.incomplete)

    def fetchable(self, opened: Collection[Assignment], reader: ReaderOf) -> list[Assignment]:
        """The partitions that this consumer may fetch now that these are running.

        Of a partition whose carried jobs are still being restored, none: they come before all others of their keys.
        Of the main topic where order is strict or jobs are unique, only once all of its tiers are here: they have the
        records that keys wait for, and the jobs that hold identities. Of the carried topic, only once the main topic is
        here: a copy that comes must find its record. Of a priority's topic likewise, since a key has one owner. A
        partition that was held back by any of these is among them.
        """
        begun = [
            a for number in {a.partition for a in opened} for a in self._begun(number) if a.source.reader == reader
        ]
        return [a for a in begun if self._may_be_fetched(a)]

    def joined(self, added: Collection[Assignment]) -> list[Assignment]:
        """One of each partition number that has others here already, where order is strict or jobs are unique.

        Keys and identities must know what waits in all tiers when the ledger was read last. So these are to be restored
        together.
        """
        if not self._needs_whole:
            return []
        numbers = {a.partition for a in self._by_partition.values() if a not in added}
        return list({a.partition: a for a in added if a.partition in numbers}.values())

    def _may_be_fetched(self, assignment: Assignment) -> bool:
        if assignment.source.is_entry and self._needs_whole:
            return self._whole(assignment.partition) is not None
        main = self.find_main(assignment.partition)
        if assignment.source.is_beside_main:
            return main is not None and main.is_running
        return not assignment.source.has_copies or main is None or main.is_running

    @property
    def _needs_whole(self) -> bool:
        """Whether jobs of a partition may start only when all of its tiers are known."""
        return self._queue.ordering == "strict" or bool(self._queue.unique)

    def _begun(self, partition: int) -> list[Assignment]:
        """The running assignments of a partition number, unless its carried jobs are not known yet."""
        carried = self.find(self._queue.carried_topic, partition)
        if carried is not None and not carried.is_running:
            return []
        return [a for topic in self._sources if (a := self.find(topic, partition)) is not None and a.is_running]

    def superseded(self, assignment: Assignment) -> Collection[int]:
        """The offsets of its records of which copies were carried forward."""
        carried = self._carried.get(assignment.partition)
        return () if carried is None else carried.superseded.get(assignment.topic, ())

    def _whole(self, partition: int) -> Assignment | None:
        """The partition of the main topic, if it and all of its tiers are open."""
        found = [self.find(topic, partition) for topic in self._sources]
        return found[0] if all(a is not None and a.is_running for a in found) else None

    def _begin(self, assignment: Assignment, start: StartPosition) -> None:
        commit_state = CommitState(spilled_at=start.spilled_at, former_chunks=start.former_chunks)
        assignment.note_restored(start.state, start.incomplete, commit_state=commit_state, awaited=start.awaited)
        holders = self.ledgers[assignment.partition].holders
        if holders is not None:
            holders.restore_waiting(start.unique)
        if start.carried is not None:
            assignment.progress.begin_known(start.carried.end, start.carried.incomplete)
            self._carried[assignment.partition] = start.carried
        self._note_catching_up(assignment)

    def _note_catching_up(self, begun: Assignment) -> None:
        if begun.progress.is_catching_up:
            self.catching_up.add(begun)

    def without_complete(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Leave out the records that an owner before has completed; each is looked at when those before are taken."""
        for message in messages:
            assignment, offset = self.find(message.topic(), message.partition()), message.offset()
            is_catching_up = assignment in self.catching_up and message.error() is None
            if not (
                is_catching_up and assignment is not None and offset is not None and _pass_over(assignment, offset)
            ):
                yield message
        self.catching_up = {a for a in self.catching_up if a.is_current and a.progress.is_catching_up}

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
        self._note_catching_up(assignment)
        return assignment

    def _put_to_use(self, partition: int, ledger: Ledger) -> None:
        if partition not in self.ledgers:
            _, former = self._former.pop(partition, (0.0, None))
            if former is not None:
                ledger.absorb_jobs(former)
            self.ledgers[partition] = ledger
            self._put_unique_to_use(partition, ledger.holders)
        elif self.ledgers[partition] is not ledger:
            # A tier that came later than its main topic: its owner before may have settled more meanwhile.
            self.ledgers[partition].absorb(ledger)

    def _put_unique_to_use(self, partition: int, holders: Holders | None) -> None:
        """Go on with what was restored, and with what an earlier assignment of this process has not written yet."""
        if holders is not None:
            former, unique = self.unique.get(partition), UniqueJobs(self._queue.unique, holders, time.time)
            if former is not None:
                unique.absorb_former(former)
            self.unique[partition] = unique

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
            if assignment.source.has_copies:
                self._carried.pop(assignment.partition, None)
        kept = {number for _, number in self._by_partition}
        for partition in self.ledgers.keys() - kept:
            self._former[partition] = (time.monotonic(), self.ledgers.pop(partition))

    def forget_old(self) -> None:
        """Drop names that are older than the ledgers' window, and the ledgers of partitions that have not come back."""
        now_s = time.monotonic()
        self._former = {p: entry for p, entry in self._former.items() if now_s - entry[0] < FORMER_KEPT_S}
        for ledger in self.ledgers.values():
            ledger.forget_old()
        if self.unique:
            self._forget_old_unique()

    def _forget_old_unique(self) -> None:
        self.unique = {p: unique for p, unique in self.unique.items() if p in self.ledgers or p in self._former}
        for partition, unique in self.unique.items():
            main = self.find_main(partition)
            beside = {
                source: None if (found := self.find(topic, partition)) is None else found.progress.committable()
                for topic, source in self._sources.items()
                if source.is_beside_main
            }
            unique.forget_old(None if main is None else main.progress.committable(), beside)


def _pass_over(assignment: Assignment, offset: int) -> bool:
    """Whether a record was complete before; of a partition that is given away, nothing more is noted.

    There, records that are not complete are left out, and the next commit must not name them as complete.
    """
    return assignment.is_running and assignment.progress.pass_over(offset)
