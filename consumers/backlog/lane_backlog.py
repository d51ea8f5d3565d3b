"""`LaneBacklog`: the records that wait behind others of their lane, known by their offsets only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import count
from threading import Lock
from typing import Final

from ..progress.assignment import Assignment, Lane, Place
from ..records.record import Record
from .expected_records import ExpectedRecords
from .offset_queues import OffsetQueues

_OFFSET_BITS: Final = 44
"""17 million million offsets in a partition, and a million assignments in the life of a process."""
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1
LAST_MARK: Final = 0xFFFF


def hash_of(lane: Lane) -> int:
    """The hash that names a lane. A key and a job's id of one text are two lanes, which Python would hash alike."""
    return hash(lane) if isinstance(lane, bytes) else ~hash(lane)


class LaneBacklog:
    """The waiting records of the lanes of one queue. Callers hold its lock; a look whose answer may be old needs none.

    A lane is known by its hash (`hash_of`). A record is *aside* first. When its lane wants it, it is *coming*, until it
    was read again and all records before it in its lane are back.

    Attributes:
        lock: guards the backlog, and the lanes and lines with records in it: so they decide and put under one hold.
        indexes: {assignment: its index}; empty while no record waits here. It is looked at for each record.
        marks: by the lowest 16 bits of `hash(lane)`, 0 where no such lane has waited here lately. So nearly all others
            are passed at the cost of one look.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self._aside = OffsetQueues()
        self._coming = ExpectedRecords()
        self._wanted: list[Place] = []
        self.indexes: dict[Assignment, int] = {}
        self.marks = bytearray(LAST_MARK + 1)
        self._assignments: dict[int, Assignment] = {}
        self._next_indexes = count()

    def __bool__(self) -> bool:
        return bool(self.indexes)

    def __len__(self) -> int:
        """How many records wait here, those that are coming included."""
        return len(self._aside) + len(self._coming)

    @property
    def coming(self) -> int:
        """How many records are to be read again."""
        return len(self._coming)

    @property
    def has_wanted(self) -> bool:
        """Whether `take_wanted` has something to give."""
        return bool(self._wanted)

    def may_hold(self, lane: Lane) -> bool:
        """Whether records of the lane may wait here; a quick look that may be wrong with True.

        Loops over records look at `indexes` and `marks` themselves: a call costs about as much as the look.
        """
        return bool(self.indexes) and self.marks[hash(lane) & LAST_MARK] != 0

    def holds(self, lane_hash: int) -> bool:
        """Whether records of the lane wait here, so that later ones must come behind them."""
        return lane_hash in self._coming.orders or lane_hash in self._aside

    def is_coming(self, lane_hash: int) -> bool:
        """Whether records of the lane are being read again."""
        return lane_hash in self._coming.orders

    def put(self, lane_hash: int, assignment: Assignment, offset: int) -> None:
        """Add a record behind all others of its lane."""
        self.marks[lane_hash & LAST_MARK] = self.marks[~lane_hash & LAST_MARK] = 1
        self._aside.append(lane_hash, self._number_of(assignment, offset))

    def put_all(self, lane_hash: int, assignment: Assignment, offsets: Iterable[int]) -> None:
        """Add records, in their order, behind all others of their lane."""
        self.marks[lane_hash & LAST_MARK] = self.marks[~lane_hash & LAST_MARK] = 1
        first = self._number_of(assignment, 0)
        self._aside.extend(lane_hash, [first | offset for offset in offsets])

    def put_back(self, lane_hash: int, places: Iterable[Place]) -> None:
        """Add records, in their order, ahead of all others of their lane, of which none is coming."""
        self.marks[lane_hash & LAST_MARK] = self.marks[~lane_hash & LAST_MARK] = 1
        self._aside.prepend(lane_hash, [self._number_of(*place) for place in places])

    def has_aside(self, lane_hash: int, place: Place) -> bool:
        """Whether a record is aside in its lane, and not on its way."""
        index = self.indexes.get(place[0])
        return index is not None and self._aside.has(lane_hash, index << _OFFSET_BITS | place[1])

    def replace(self, lane_hash: int, place: Place, by: Place) -> bool:
        """Put another place in the stead of a record's that is aside; False if it is not aside."""
        if not self.has_aside(lane_hash, place):
            return False
        self._aside.replace(lane_hash, self._number_of(*place), self._number_of(*by))
        return True

    def _number_of(self, assignment: Assignment, offset: int) -> int:
        index = self.indexes.get(assignment)
        if index is None:
            index = self.indexes[assignment] = next(self._next_indexes)
            self._assignments[index] = assignment
        return index << _OFFSET_BITS | offset

    def want(self, lane_hash: int, limit: int) -> None:
        """Have the next records of a lane read again, unless some of it are being read."""
        if lane_hash not in self._coming.orders:
            self.want_more(lane_hash, limit)

    def coming_of(self, lane_hash: int) -> int:
        """How many records of a lane are being read again."""
        return len(self._coming.orders.get(lane_hash, ()))

    def want_more(self, lane_hash: int, limit: int) -> None:
        """Have the next records of a lane read again, behind those of it that are being read."""
        numbers = self._aside.pop(lane_hash, limit)
        if numbers:
            places = [(self._assignments[number >> _OFFSET_BITS], number & _OFFSET_MASK) for number in numbers]
            self._coming.add(lane_hash, places)
            self._wanted += places

    def take_wanted(self) -> list[Place]:
        """Take the places to be read again that were not taken before; each comes back to `end_coming`."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def end_coming(self, place: Place, record: Record | None = None) -> tuple[int | None, list[Record]]:
        """Take a record that was read again, or None for one that is gone.

        Returns the hash of its lane, None if no lane waits for it, and the records that are back now, in order.
        """
        ended = self._coming.end(place, record)
        if not self._coming and not self._aside:
            self._forget_indexes()
        return ended

    def _forget_indexes(self) -> None:
        self.indexes.clear()
        self._assignments.clear()
        self._next_indexes = count()  # else each time that the backlog fills and drains would use some up
        self.marks[:] = bytes(len(self.marks))

    def places(self) -> Iterator[Place]:
        """All that waits here, in no order of lanes."""
        return (place for place, _ in self.items())

    def items(self) -> Iterator[tuple[Place, int]]:
        """All that waits here with its lane's hash, in no order of lanes."""
        yield from self._coming.items()
        for part in self.parts:
            yield from self.part(part)

    @property
    def parts(self) -> range:
        """The numbers of parts, each of which has some of the lanes that are aside."""
        return self._aside.parts

    def part(self, part: int) -> Iterator[tuple[Place, int]]:
        """Yield the places that are aside of the lanes of one part, and are not coming."""
        for lane_hash, number in self._aside.part(part):
            yield (self._assignments[number >> _OFFSET_BITS], number & _OFFSET_MASK), lane_hash

    def drop(self, assignments: Collection[Assignment]) -> tuple[list[Record], list[tuple[int, Record]]]:
        """Forget the records of partitions that are no longer ours.

        Returns the forgotten records that were read again already, and the other records that are back now, with the
        hashes of their lanes.
        """
        gone = {self.indexes.pop(assignment) for assignment in assignments if assignment in self.indexes}
        if not gone:
            return [], []
        self._aside.discard(lambda number: number >> _OFFSET_BITS in gone)
        for index in gone:
            del self._assignments[index]
        self._wanted = [place for place in self._wanted if place[0] not in assignments]
        return self._coming.drop(assignments)


def offsets_by_assignment(places: Iterable[Place]) -> dict[Assignment, list[int]]:
    """{assignment: its offsets}, in their order."""
    found: dict[Assignment, list[int]] = {}
    for assignment, offset in places:
        found.setdefault(assignment, []).append(offset)
    return found
