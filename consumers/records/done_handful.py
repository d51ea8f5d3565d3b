"""`DoneHandful`: records whose jobs a runner has done one after another, until they are durable together.

A runner makes it, and it stays whole on its way to the poll thread: what is found out about its records, such as their
partitions, is found once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..progress.assignment import Assignment
from .ended_columns import EndedColumns
from .record import Record


class DoneHandful:
    """Records, of which there is at least one, in the order in which their jobs ended.

    Attributes:
        parts: the records of each assignment.
        columns: of their event, where the runner has had them made; else None.
    """

    __slots__ = ("columns", "parts", "records")

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.parts = _parts(records)
        self.columns: EndedColumns | None = None

    def split(self, others: Collection[Record]) -> tuple[list[DoneHandful], list[DoneHandful]]:
        """Split it into what is not among others, and what is: one of them is empty where it stays whole."""
        ours = [record for record in self.records if record not in others]
        if len(ours) == len(self.records):
            return [self], []
        if not ours:
            return [], [self]
        return [DoneHandful(ours)], [DoneHandful([record for record in self.records if record in others])]


def _parts(records: list[Record]) -> list[tuple[Assignment, list[Record]]]:
    """Sort records by assignment; most often they have the same, as they come from the same fetch."""
    assignments = [record.assignment for record in records]
    if assignments.count(assignments[0]) == len(assignments):
        return [(assignments[0], records)]
    parts: dict[Assignment, list[Record]] = {}
    for record in records:
        parts.setdefault(record.assignment, []).append(record)
    return list(parts.items())


def records_of(handfuls: Iterable[DoneHandful]) -> list[Record]:
    """All of their records."""
    return [record for handful in handfuls for record in handful.records]
