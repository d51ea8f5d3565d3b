"""`PriorityReady`: the ready records of one kind of runners, taken by the weights of their priorities.

Each time a runner takes a record, every priority that has any is credited its weight, and the one with the most credit
gives its first record, and pays for it what all were credited. So among priorities that always have work, the starts
are as the weights, evenly mixed; and the first record of one that had none comes next or nearly so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from threading import Lock
from typing import Final

from ...topology.declaration.priorities import NORMAL
from ..progress.assignment import Assignment
from ..records.record import Record, copied, take_out
from ..sources.priorities import Priorities
from .key_holds import KeyHolds

HANDFUL: Final = 16
"""Short jobs that stand at most before an urgent one in a runner that has taken them."""


class _Class:
    """The ready records of one priority, and its credit."""

    __slots__ = ("credit", "records", "size_bytes", "weight")

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.credit = 0
        self.records = deque[Record]()
        self.size_bytes = 0


class PriorityReady:
    """Looks like the deque that runners have elsewhere; safe to call from all threads."""

    handful = HANDFUL

    def __init__(self, priorities: Priorities, holds: KeyHolds) -> None:
        self._holds = holds
        self._lock = Lock()
        self._classes = {name: _Class(weight) for name, weight in priorities.weights.items()}
        self._with_hold: set[Record] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count_of(self, priority: str) -> int:
        """How many of a priority are ready."""
        return len(self._classes[priority].records)

    def bytes_of(self, priority: str) -> int:
        """How large those of a priority are that are ready."""
        return self._classes[priority].size_bytes

    def extend(self, records: Iterable[Record]) -> None:
        """Add records that have become ready, each behind others of its priority; those that were held back ahead."""
        with self._lock:
            for record in records:
                found = self._classes[record.priority]
                (found.records.appendleft if self._holds.pop_freed(record) else found.records.append)(record)
                found.size_bytes += record.size_bytes
                self._count += 1

    def extendleft(self, records: Iterable[Record]) -> None:
        """Put records back that a runner has taken and not begun; they keep the holds of their keys."""
        with self._lock:
            for record in records:
                found = self._classes[record.priority]
                found.records.appendleft(record)
                found.size_bytes += record.size_bytes
                self._with_hold.add(record)
                self._count += 1

    def popleft(self) -> Record:
        """Take the next record, with hold of its key.

        Raises:
            IndexError: there is none that may start.
        """
        with self._lock:
            while self._count:
                chosen = self._choose()
                record = chosen.records.popleft()
                chosen.size_bytes -= record.size_bytes
                self._count -= 1
                if not chosen.records:
                    chosen.credit = 0
                if record in self._with_hold:
                    self._with_hold.discard(record)
                    return record
                if self._holds.acquire(record):
                    return record
        raise IndexError("nothing is ready")

    def _choose(self) -> _Class:
        """The priority whose turn it is; at least one has a record."""
        candidates = [found for found in self._classes.values() if found.records]
        if len(candidates) == 1:
            return candidates[0]
        for found in candidates:
            found.credit += found.weight
        chosen = max(candidates, key=lambda found: found.credit)
        chosen.credit -= sum(found.weight for found in candidates)
        return chosen

    def records(self) -> list[Record]:
        """All that are ready, in no order of priorities."""
        with self._lock:
            return [record for found in self._classes.values() for record in copied(found.records)]

    def clear(self) -> None:
        """Take out all."""
        with self._lock:
            for found in self._classes.values():
                found.records.clear()
                found.size_bytes = 0
            self._count = 0

    def take_out(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of these assignments, those that are held back included."""
        dropped = self._holds.drop(assignments)
        with self._lock:
            for found in self._classes.values():
                of_class = take_out(found.records, assignments)
                self._count -= len(of_class)
                found.size_bytes -= sum(record.size_bytes for record in of_class)
                self._with_hold.difference_update(of_class)
                dropped += of_class
        return dropped


class ReadyRecords:
    """The ready records of all kinds of runners of one queue.

    Attributes:
        holds: those of its keys.
        others: the priorities beside the normal one, the most urgent first.
    """

    def __init__(self, priorities: Priorities) -> None:
        self._priorities = priorities
        self.others = [name for name in priorities.weights if name != NORMAL]
        self._made: list[PriorityReady] = []
        self.holds = KeyHolds()

    def make(self) -> PriorityReady:
        """Make those of one more kind of runners."""
        made = PriorityReady(self._priorities, self.holds)
        self._made.append(made)
        return made

    def count_of(self, priority: str) -> int:
        """How many records of a priority are ready for runners of any kind."""
        return sum(made.count_of(priority) for made in self._made)

    def bytes_of(self, priority: str) -> int:
        """How large the records of a priority are that are ready for runners of any kind."""
        return sum(made.bytes_of(priority) for made in self._made)
