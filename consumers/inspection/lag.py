"""`Lags`: how many records of its partitions a worker has still before it.

A client knows the end of a partition from its fetches, so while a partition rests that knowledge stands still, just
when people look at it. Then the brokers are asked: one partition at a time, since it is the poll thread that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ..records.assignment import Assignment
from ..records.source import ReaderOf

ASK_TIMEOUT_S: Final = 0.5


class Lags:
    """Owned by the poll thread."""

    def __init__(self) -> None:
        self._asked: dict[Assignment, int] = {}
        self._next = 0

    def measure(
        self, readers: Mapping[ReaderOf, Consumer], assignments: Sequence[Assignment], *, is_resting: bool
    ) -> int:
        """Records that are not complete, as far as the ends are known; `readers` has the consumer of each source."""
        if is_resting and assignments:
            self._next = (self._next + 1) % len(assignments)
            self._ask(readers[assignments[self._next].source.reader], assignments[self._next])
        elif self._asked:
            self._asked.clear()
        return sum(self._lag(readers[assignment.source.reader], assignment) for assignment in assignments)

    def ends(self, reader: Consumer, assignments: Iterable[Assignment]) -> dict[Assignment, int]:
        """{assignment: the end of its partition}, as far as its reader knows it."""
        known = {
            assignment: reader.get_watermark_offsets(_place(assignment), cached=True) for assignment in assignments
        }
        return {assignment: end for assignment, (_, end) in known.items() if end >= 0}

    def _ask(self, reader: Consumer, assignment: Assignment) -> None:
        with suppress(KafkaException):  # an outage is logged elsewhere; the last figure stays
            _, self._asked[assignment] = reader.get_watermark_offsets(_place(assignment), ASK_TIMEOUT_S, cached=False)

    def _lag(self, reader: Consumer, assignment: Assignment) -> int:
        _, fetched = reader.get_watermark_offsets(_place(assignment), cached=True)
        end = max(fetched, self._asked.get(assignment, -1))
        progress = assignment.progress
        return 0 if progress.committable() is None or end < 0 else progress.left_before(end)


def _place(assignment: Assignment) -> TopicPartition:
    return TopicPartition(assignment.topic, assignment.partition)
