"""`Assignments`: which partitions are ours, and whether their ledgers are restored; owned by the poll thread.

Equal partition numbers of the main topic and of all tiers belong together: they share a ledger, and none of them
starts a job before it is restored. Restoring happens in a thread of its own, while the partitions are paused.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection
from itertools import count
from typing import Final

from confluent_kafka import TopicPartition

from ..topology import ClusterSettings, Queue
from . import log_keys
from .ledger import Ledger
from .record import Assignment
from .restore import LedgerUnreadable, restore_ledgers

_LOGGER = logging.getLogger("stoker.ledger")

RETRY_PAUSE_S: Final = 1.0


class Assignments:
    """The partitions that this process owns."""

    def __init__(self, queue: Queue, cluster: ClusterSettings, stopping: threading.Event) -> None:
        self._queue = queue
        self._cluster = cluster
        self._stopping = stopping
        self._tiers = {topic: tier for tier, topic in queue.retry_topics.items()}
        self._numbers = count(1)
        self._by_place: dict[tuple[str, int], Assignment] = {}
        self._restored: deque[tuple[int, dict[int, Ledger]]] = deque()
        self._restoring: dict[int, int] = {}
        self._restore_numbers = count(1)
        self.ledgers: dict[int, Ledger] = {}

    def find(self, topic: str | None, partition: int | None) -> Assignment | None:
        """The present assignment of a partition, if it is ours."""
        return self._by_place.get((topic, partition))  # type: ignore[arg-type]  # None finds nothing, as it should

    def all(self) -> list[Assignment]:
        """All present assignments."""
        return list(self._by_place.values())

    @property
    def main_partitions(self) -> tuple[int, ...]:
        """The owned partitions of the main topic."""
        return tuple(sorted(number for topic, number in list(self._by_place) if topic == self._queue.topic))

    @property
    def tier_count(self) -> int:
        """How many partitions of tiers are ours."""
        return sum(1 for topic, _ in self._by_place if topic != self._queue.topic)

    def is_restored(self, assignment: Assignment) -> bool:
        """Whether jobs of the partition may start."""
        return assignment.partition in self.ledgers

    def add(self, places: list[TopicPartition]) -> list[Assignment]:
        """Begin assignments, and the restoring of ledgers that are not here yet."""
        added = []
        for place in places:
            assignment = Assignment(
                next(self._numbers),
                place.topic,
                place.partition,
                tier=self._tiers.get(place.topic),
                keeps_order=self._queue.ordering == "key",
            )
            self._by_place[place.topic, place.partition] = assignment
            added.append(assignment)
        missing = {a.partition for a in added} - self.ledgers.keys() - self._restoring.keys()
        if missing:
            self._restore(sorted(missing))
        return added

    def _restore(self, partitions: list[int]) -> None:
        number = next(self._restore_numbers)
        self._restoring |= dict.fromkeys(partitions, number)
        threading.Thread(
            target=self._restore_until_done,
            args=(number, partitions),
            name=f"stoker-restore-{self._queue.name}",
            daemon=True,
        ).start()

    def _restore_until_done(self, number: int, partitions: list[int]) -> None:
        while not self._stopping.is_set():
            try:
                ledgers = restore_ledgers(self._cluster, self._queue, partitions, self._stopping.is_set)
            except LedgerUnreadable as error:
                if not self._stopping.wait(RETRY_PAUSE_S):
                    _LOGGER.error("%s", error, extra={log_keys.QUEUE: self._queue.name})
            else:
                self._restored.append((number, ledgers))
                return

    def take_restored(self) -> list[Assignment]:
        """Put restored ledgers to use; gives the assignments that may flow from now on.

        What was read for an assignment that has ended meanwhile is passed over: another owner may have written since.
        """
        flowing: list[Assignment] = []
        while self._restored:
            number, ledgers = self._restored.popleft()
            for partition in [p for p in ledgers if self._restoring.get(p) == number]:
                del self._restoring[partition]
                self.ledgers[partition] = ledgers[partition]
                flowing += [a for a in self._by_place.values() if a.partition == partition]
        return flowing

    def leave(self, places: list[TopicPartition]) -> list[Assignment]:
        """Start no more records of these partitions; what runs may still end and be settled in time."""
        leaving = [a for place in places if (a := self.find(place.topic, place.partition)) is not None]
        for assignment in leaving:
            assignment.is_open = False
        return leaving

    def end(self, leaving: Collection[Assignment]) -> None:
        """End assignments: results that come later are late. Ledgers that nobody needs here are forgotten."""
        for assignment in leaving:
            assignment.is_active = False
            del self._by_place[assignment.topic, assignment.partition]
        kept = {number for _, number in self._by_place}
        for by_partition in (self.ledgers, self._restoring):
            for partition in by_partition.keys() - kept:
                del by_partition[partition]

    def forget_old(self) -> None:
        """Drop what the ledgers' age bound says."""
        for ledger in self.ledgers.values():
            ledger.forget_old()
