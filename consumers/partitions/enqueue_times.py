"""`EnqueueTimes`: about when the records of each partition were written, by some of those that were fetched.

Progress knows which offset is the lowest incomplete one, but the record is not at hand, and may be long settled in
between. So the poll thread notes the first and the last record of each fetch.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from confluent_kafka import Message

MOST_MARKS: Final = 512
"""Marks of each partition; beyond them every second is forgotten, so that the older ones lie further apart."""

Partition = tuple[str | None, int | None]
Mark = tuple[int, int]
"""Offset and time of writing, in ms."""


class EnqueueTimes:
    """The poll thread notes; any thread may look."""

    def __init__(self) -> None:
        self._marks: dict[Partition, list[Mark]] = {}

    def note(self, fetched: list[Message]) -> None:
        """Note records that were fetched in order; at least one."""
        self._note(fetched[0])
        if len(fetched) > 1:
            self._note(fetched[-1])

    def _note(self, message: Message) -> None:
        if message.error() is not None:
            return
        place, mark = (message.topic(), message.partition()), (message.offset() or 0, message.timestamp()[1])
        marks = self._marks.get(place)
        if marks is None or mark[0] < marks[-1][0]:  # the partition has come back, or its offsets went back
            self._marks[place] = [mark]
        else:
            marks.append(mark)
            if len(marks) > MOST_MARKS:
                self._marks[place] = [*marks[:-1:2], mark]

    def about_s(self, topic: str, partition: int, offset: int) -> float | None:
        """The epoch second at which a record was written, or a little before; None where nothing is known."""
        marks = list(self._marks.get((topic, partition), ()))
        if not marks:
            return None
        at = bisect_right(marks, offset, key=lambda mark: mark[0])
        return marks[max(0, at - 1)][1] / 1e3
