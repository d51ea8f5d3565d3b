"""`Days`: what is due in each span of time, as numbers in arrays."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Collection, Iterator

from ..records.assignment import Assignment


class Days:
    """{span of time: {assignment: numbers}}, the earliest span first. A number holds milliseconds and an offset."""

    def __init__(self) -> None:
        self._spans: dict[int, dict[Assignment, array[int]]] = {}
        self._order: list[int] = []

    def put(self, span: int, assignment: Assignment, number: int) -> None:
        """Add a number to a span."""
        numbers = self._spans.get(span)
        if numbers is None:
            numbers = self._spans[span] = {}
            heapq.heappush(self._order, span)
        of_assignment = numbers.get(assignment)
        if of_assignment is None:
            of_assignment = numbers[assignment] = array("Q")
        of_assignment.append(number)

    @property
    def first(self) -> int | None:
        """The earliest span that has numbers."""
        while self._order and not self._spans.get(self._order[0]):
            self._spans.pop(heapq.heappop(self._order), None)
        return self._order[0] if self._order else None

    def take(self, span: int, limit: int) -> list[tuple[Assignment, array[int]]]:
        """Take at most so many numbers out of a span, those of each assignment in the order in which they came."""
        taken, numbers = [], self._spans[span]
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
        """Forget the numbers of these; gives how many there were."""
        dropped = (numbers.pop(a, ()) for numbers in self._spans.values() for a in assignments)
        return sum(map(len, dropped))

    def __iter__(self) -> Iterator[tuple[Assignment, int]]:
        """All numbers, in no order."""
        for numbers in self._spans.values():
            for assignment, of_assignment in numbers.items():
                yield from ((assignment, number) for number in of_assignment)

    def of(self, assignment: Assignment) -> Iterator[int]:
        """The numbers of an assignment, in no order."""
        for numbers in self._spans.values():
            yield from numbers.get(assignment, ())
