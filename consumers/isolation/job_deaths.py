"""`JobDeaths`: the children that have died with jobs of one queue in this process, until these jobs have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..progress.assignment import Assignment
from ..records.record import Record, RecordAt, record_at
from .crashes import ChildDied


@dataclass(slots=True)
class _Deaths:
    """The deaths of one job.

    Attributes:
        assignment: where its record is; another assignment that goes on with the partition shares the crash history.
        crashes: the evidence of each crash seen here.
        not_begun: how many children have died since the last crash, before they began with it.
    """

    assignment: Assignment
    crashes: list[ChildDied] = field(default_factory=list)
    not_begun: int = 0

    def is_past(self, offset: int) -> bool:
        """Whether the job has ended in any way; asked by the poll thread."""
        if offset in self.assignment.crash_history.crashes:
            return False
        return not self.not_begun or not self.assignment.progress.is_incomplete(offset)


class JobDeaths:
    """Safe to call from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[RecordAt, _Deaths] = {}

    def __len__(self) -> int:
        """How many jobs there are with which children have died."""
        return len(self._of)

    def __contains__(self, record: Record) -> bool:
        """Whether a child has died with the job of this record."""
        return record_at(record) in self._of

    def note_crash(self, record: Record, died: ChildDied) -> list[ChildDied]:
        """Note a crash; the evidence of all crashes of that job here, the latest last."""
        with self._lock:
            deaths = self._deaths_of(record)
            deaths.crashes.append(died)
            deaths.not_begun = 0
            return deaths.crashes

    def note_not_begun(self, record: Record) -> int:
        """Note that a child has died before it began with the job; how many have since its last crash."""
        with self._lock:
            deaths = self._deaths_of(record)
            deaths.not_begun += 1
            return deaths.not_begun

    def _deaths_of(self, record: Record) -> _Deaths:
        return self._of.setdefault(record_at(record), _Deaths(record.assignment))

    def forget(self, record: Record) -> None:
        """Forget a job that has ended, or goes elsewhere."""
        with self._lock:
            self._of.pop(record_at(record), None)

    def forget_settled(self) -> None:
        """Forget jobs that have ended, also where they did not run any more; called by the poll thread."""
        self._forget(lambda place, deaths: deaths.is_past(place[2]))

    def forget_gone(self, assignments: Collection[Assignment], running: Collection[RecordAt]) -> None:
        """Forget the jobs of partitions that are given away, unless they run: their ends are still to come."""
        gone = {assignment.crash_history for assignment in assignments if not assignment.is_staying}
        self._forget(lambda place, deaths: deaths.assignment.crash_history in gone and place not in running)

    def _forget(self, is_past: Callable[[RecordAt, _Deaths], bool]) -> None:
        with self._lock:
            for place in [place for place, deaths in self._of.items() if is_past(place, deaths)]:
                del self._of[place]
