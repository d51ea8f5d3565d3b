"""`KnownOffsets`: delayed records that are known by their offsets, and when each is due. `DueNumbers`: its arrays."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Collection, Iterator, Set
from itertools import chain
from typing import Final

from ..progress.assignment import Assignment

OFFSET_BITS: Final = 42
"""Four million million offsets in a partition; the other 22 bits of a number are the milliseconds within a span."""
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
SPAN_BITS: Final = 64 - OFFSET_BITS
"""A span is 2^22 ms: some 70 minutes."""
TICK_BITS: Final = 10
"""A tick is 2^10 ms: 1.024 s."""
SORTED_AT_ONCE: Final = 20_000
"""Numbers of a span that go to their ticks in one turn: 10 ms of work."""
_SPAN_MASK: Final = (1 << SPAN_BITS) - 1


class DueNumbers:
    """{tick or span: {assignment: numbers}}, the earliest first. A number holds milliseconds and an offset."""

    def __init__(self) -> None:
        self._numbers: dict[int, dict[Assignment, array[int]]] = {}
        self._order: list[int] = []

    def put(self, at: int, assignment: Assignment, number: int) -> None:
        """Add a number to a tick or span."""
        numbers = self._numbers.get(at)
        if numbers is None:
            numbers = self._numbers[at] = {}
            heapq.heappush(self._order, at)
        of_assignment = numbers.get(assignment)
        if of_assignment is None:
            of_assignment = numbers[assignment] = array("Q")
        of_assignment.append(number)

    @property
    def first(self) -> int | None:
        """The earliest tick or span that has numbers."""
        while self._order and not self._numbers.get(self._order[0]):
            self._numbers.pop(heapq.heappop(self._order), None)
        return self._order[0] if self._order else None

    def pop(self, at: int, limit: int) -> list[tuple[Assignment, array[int]]]:
        """Take at most so many numbers out of a tick or span, those of each assignment in the order they came in."""
        taken, numbers = [], self._numbers[at]
        for assignment in list(numbers):
            if limit <= 0:
                break
            of_assignment = numbers[assignment]
            taken.append((assignment, of_assignment[:limit]))
            del of_assignment[:limit]
            limit -= len(taken[-1][1])
            if not of_assignment:
                del numbers[assignment]
        return taken

    def drop(self, assignments: Collection[Assignment]) -> int:
        """Forget the numbers of these; returns how many there were."""
        dropped = (numbers.pop(a, ()) for numbers in self._numbers.values() for a in assignments)
        return sum(map(len, dropped))

    def __iter__(self) -> Iterator[tuple[Assignment, int]]:
        """All numbers, in no order."""
        for numbers in self._numbers.values():
            for assignment, of_assignment in numbers.items():
                yield from ((assignment, number) for number in of_assignment)

    def of(self, assignment: Assignment) -> Iterator[int]:
        """The numbers of an assignment, in no order."""
        for numbers in self._numbers.values():
            yield from numbers.get(assignment, ())

    def arrays(self) -> Iterator[tuple[Assignment, array[int]]]:
        """All numbers, those of one tick or span and assignment together."""
        for numbers in self._numbers.values():
            yield from numbers.items()

    def remove_all(self, assignment: Assignment, offsets: Set[int]) -> set[int]:
        """Take the numbers of these offsets out; returns those that were there."""
        removed: set[int] = set()
        for numbers in self._numbers.values():
            if len(removed) == len(offsets):
                break
            found = {number & OFFSET_MASK for number in numbers.get(assignment, ())}.intersection(offsets)
            if found:
                left = array("Q", [number for number in numbers[assignment] if number & OFFSET_MASK not in found])
                numbers[assignment] = left
                removed |= found
                if not left:
                    del numbers[assignment]
        return removed


class KnownOffsets:
    """Offsets by the tick in which their records are due, and by the span where that is far off."""

    def __init__(self) -> None:
        self._near, self._far, self._count = DueNumbers(), DueNumbers(), 0

    def __len__(self) -> int:
        return self._count

    def note(self, assignment: Assignment, offset: int, wake_ms: int, now_ms: int) -> None:
        """Add one that wakes at this epoch time."""
        number = (wake_ms & _SPAN_MASK) << OFFSET_BITS | offset
        if wake_ms - now_ms <= _SPAN_MASK:
            self._near.put(wake_ms >> TICK_BITS, assignment, number)
        else:
            self._far.put(wake_ms >> SPAN_BITS, assignment, number)
        self._count += 1

    @property
    def first(self) -> int | None:
        """The earliest tick; None where nothing is known."""
        near, far = self._near.first, self._far.first
        if far is None:
            return near
        far_tick = far << (SPAN_BITS - TICK_BITS)
        return far_tick if near is None else min(near, far_tick)

    def next_tick(self) -> int | None:
        """The earliest tick, to take from; None where nothing is known, or more of its span is to be sorted in."""
        return self._near.first if self._sort_span() else None

    def _sort_span(self) -> bool:
        """Put the numbers of a span to their ticks where the next ones may be among them; False if more is left."""
        far, near = self._far.first, self._near.first
        if far is None or (near is not None and near < far << (SPAN_BITS - TICK_BITS)):
            return True
        for assignment, numbers in self._far.pop(far, SORTED_AT_ONCE):
            for number in numbers:
                wake_ms = far << SPAN_BITS | number >> OFFSET_BITS
                self._near.put(wake_ms >> TICK_BITS, assignment, number)
        return self._far.first != far

    def pop(self, tick: int, limit: int) -> list[tuple[Assignment, list[int]]]:
        """Take at most so many offsets of the earliest tick."""
        taken = [(a, [number & OFFSET_MASK for number in numbers]) for a, numbers in self._near.pop(tick, limit)]
        self._count -= sum(len(offsets) for _, offsets in taken)
        return taken

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget those of partitions that are no longer ours."""
        self._count -= self._near.drop(assignments) + self._far.drop(assignments)

    def of(self, assignment: Assignment) -> Iterator[int]:
        """The offsets of an assignment, in no order."""
        for numbers in (self._near, self._far):
            yield from (number & OFFSET_MASK for number in numbers.of(assignment))

    def remove_all(self, assignment: Assignment, offsets: Set[int]) -> set[int]:
        """Take these out; returns those that were known. It looks at all of their assignment."""
        removed = self._near.remove_all(assignment, offsets)
        removed |= self._far.remove_all(assignment, offsets - removed)
        self._count -= len(removed)
        return removed

    def by_assignment(self) -> dict[Assignment, list[int]]:
        """All of them, in the order of the log."""
        arrays: dict[Assignment, list[array[int]]] = {}
        for assignment, numbers in chain(self._near.arrays(), self._far.arrays()):
            arrays.setdefault(assignment, []).append(numbers)
        return {a: sorted(number & OFFSET_MASK for numbers in some for number in numbers) for a, some in arrays.items()}

    def __iter__(self) -> Iterator[tuple[Assignment, int]]:
        """All of them, in no order."""
        for assignment, number in chain(self._near, self._far):
            yield assignment, number & OFFSET_MASK
