"""`FetchOrder`: which partitions may be fetched, by what must be known before of others of their number."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...topology import Queue
from ..progress.assignment import Assignment
from ..sources.source import ReaderOf, sources_of

Find = Callable[[str | None, int | None], Assignment | None]
"""Finds the present assignment of a topic's partition, if it is ours."""


class FetchOrder:
    """The order in which the partitions of one number begin; owned by the poll thread.

    Args:
        present: lists all present assignments.
    """

    def __init__(self, queue: Queue, find: Find, present: Callable[[], Collection[Assignment]]) -> None:
        self._queue, self._topics = queue, tuple(sources_of(queue))
        self._find = find
        self._present = present

    def fetchable(self, opened: Collection[Assignment], reader: ReaderOf) -> list[Assignment]:
        """The partitions that this consumer may fetch now that these are running.

        Of a partition whose carried jobs are still being restored, none: they come before all others of their keys.
        Of the main topic where order is strict or jobs are unique, only once all waiting topics are here: they have the
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

        Keys and identities must know what all waiting topics held when the ledger was read last. So these are to be
        restored together.
        """
        if not self._needs_whole:
            return []
        numbers = {a.partition for a in self._present() if a not in added}
        return list({a.partition: a for a in added if a.partition in numbers}.values())

    def holds_carried(self, partition: int) -> bool:
        """Whether carried jobs of a partition number wait here, which must be known before others of it are read."""
        carried = self._find(self._queue.carried_topic, partition)
        return carried is not None and bool(carried.progress.incomplete)

    def _may_be_fetched(self, assignment: Assignment) -> bool:
        if assignment.source.is_entry and self._needs_whole:
            return self._is_whole(assignment.partition)
        main = self._find(self._queue.topic, assignment.partition)
        if assignment.source.is_beside_main:
            return main is not None and main.is_running
        return not assignment.source.has_copies or main is None or main.is_running

    @property
    def _needs_whole(self) -> bool:
        """Whether jobs of a partition may start only when all waiting topics are known."""
        return self._queue.ordering == "strict" or bool(self._queue.unique)

    def _begun(self, partition: int) -> list[Assignment]:
        """The running assignments of a partition number, unless its carried jobs are not known yet."""
        carried = self._find(self._queue.carried_topic, partition)
        if carried is not None and not carried.is_running:
            return []
        return [a for topic in self._topics if (a := self._find(topic, partition)) is not None and a.is_running]

    def _is_whole(self, partition: int) -> bool:
        """Whether the partition of the main topic and all others of its number are running."""
        found = [self._find(topic, partition) for topic in self._topics]
        return all(a is not None and a.is_running for a in found)
